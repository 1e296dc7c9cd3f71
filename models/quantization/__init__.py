"""Weights stored in fewer bits."""
