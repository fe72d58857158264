"""Updates of weights and states as operators."""
