"""Operators on tensors with MXNet's conventions: composites of primitives."""
