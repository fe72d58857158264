"""Floor 5: graphs as programs: compiled, cached by types and modes, stored, trained."""
