"""Times of stages and of a cold start."""
