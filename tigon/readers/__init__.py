"""Readers of file formats that several kinds of model files share: messages of protocol buffers, as
text and on the wire, over tables of fields that are written down here and not generated."""
