"""How the rest of the world talks to an engine."""
