"""Files of other programs that are not read here, known by their first bytes."""

from __future__ import annotations

_PYTORCH = (
    "of which PyTorch's .pt, .pth and .bin are some; load it there and write "
    "safetensors.torch.save_file(model.state_dict(), path)"
)

_KINDS = (
    (b"PK\x03\x04", f"a zip archive, {_PYTORCH}"),
    *((bytes([0x80, protocol]), f"a pickle, {_PYTORCH}") for protocol in (2, 3, 4, 5)),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes; have it write a model of ONNX"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"\x93NUMPY", "an array of numpy; give numpy.load(path) to nd.array"),
)


def kind_of(content: bytes | memoryview) -> str | None:
    """What the file is, and what to do with it; None of those that nothing is known of.

    >>> kind_of(b"\\x1f\\x8b\\x08")
    'compressed by gzip; unpack it first'
    """
    first = bytes(content[:8])
    return next((told for mark, told in _KINDS if first.startswith(mark)), None)
