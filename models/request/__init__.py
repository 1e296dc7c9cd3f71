"""The video request: fields, limits and adjustments."""
