"""Tools to try an installation with: the echo server and its load mode."""
