"""Uploads of images before the request that uses them, by one-time urls."""
