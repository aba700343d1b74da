"""The parts of `millpond demo`: its traffic, its local provider, its figures and its views."""
