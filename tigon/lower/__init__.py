"""Floor 4: a typed graph of primitives becomes kernels of loop nests.

`fuse` gathers nodes into groups, one kernel each; `nests` writes a group as loop nests; `collapse`
merges loop axes that memory does not distinguish; `elements` gives the scalar expression of a
value at given coordinates, through every view on the way.
"""
