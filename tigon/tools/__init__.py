"""Programs: `python -m tigon.tools.im2rec` writes record files of images."""
