"""Trains the demo model: a tiny LTX-2 that draws flat shapes. Not part of the wheel."""
