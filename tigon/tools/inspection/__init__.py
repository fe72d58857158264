"""What model files hold: what `python -m tigon.tools.inspect` knows, a file per kind."""
