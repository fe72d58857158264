"""Graphs written in ONNX's format: common operators as ONNX has them, all others as the primitives
that they are made of."""
