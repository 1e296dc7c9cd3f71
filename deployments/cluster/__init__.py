"""Checks of the Ray cluster and of the machine before the server starts."""
