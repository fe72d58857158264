#!/bin/sh
# Pillow 13.0.0: a PNG of 16 bits per channel loses its lower 8 bits where it has colours, and all that
# is above 255 where it is grey: `convert("RGB")`, which loaders of image folders call on every file,
# keeps numbers of mode "I;16" as they are and clips them.
#
# Expected: one rule for both, as the format says how to reduce depth: 32768 of 65535 is middle grey, 128
# of 255, whether the file has one channel or three.
# Seen: 128 from the file with colours, 255 from the grey one.
#
# Why it matters: scans, microscopes, depth cameras and remote sensing write grey files of 16 bits. Read
# through `convert`, nearly all of them become white images, without an error or a warning, and a network
# trains on them.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet pillow==13.0.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import io
import struct
import zlib

import numpy as np
import PIL
from PIL import Image

LEVELS = (0, 128, 256, 4096, 32768, 65535)


def png(channels: int) -> bytes:
    """One line of pixels, all channels alike, 16 bits each (ISO/IEC 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    colour = {1: 0, 3: 2}[channels]
    head = struct.pack(">IIBBBBB", len(LEVELS), 1, 16, colour, 0, 0, 0)
    line = b"\0" + b"".join(struct.pack(">H", level) * channels for level in LEVELS)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(line)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


print("Pillow", PIL.__version__)
seen = {}
for name, channels in (("grey", 1), ("colours", 3)):
    image = Image.open(io.BytesIO(png(channels)))
    seen[name] = np.asarray(image.convert("RGB"))[0, :, 0].tolist()
    print(f"{name}: mode {image.mode}, of {list(LEVELS)} convert('RGB') makes {seen[name]}")
assert seen["colours"] == [0, 0, 1, 16, 128, 255], "the behaviour has changed"
assert seen["grey"] == [0, 128, 255, 255, 255, 255], "the behaviour has changed"
PYTHON
# Output seen:
#   Pillow 13.0.0
#   grey: mode I;16, of [0, 128, 256, 4096, 32768, 65535] convert('RGB') makes [0, 128, 255, 255, 255, 255]
#   colours: mode RGB, of [0, 128, 256, 4096, 32768, 65535] convert('RGB') makes [0, 0, 1, 16, 128, 255]
