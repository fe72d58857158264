"""LLVM as text, and as native objects; no machine's way of computing."""
