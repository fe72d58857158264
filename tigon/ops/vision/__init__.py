"""Operators on images and boxes: composites of primitives."""
