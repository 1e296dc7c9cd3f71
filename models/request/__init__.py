"""What a client can ask for: fields, limits, adjustments."""
