"""TCP connections -> calls of a handler -> bytes back. See server.py, the way in."""
