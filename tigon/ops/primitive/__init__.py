"""Primitives: operators that lower to loops, by family. Composites are made of these."""
