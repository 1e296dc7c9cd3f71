"""Timing of stages and of a cold start."""
