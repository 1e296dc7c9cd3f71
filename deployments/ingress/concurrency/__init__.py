"""Thread pools and limits on open requests."""
