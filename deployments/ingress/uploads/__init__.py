"""Uploads of images, audio and videos before the request that uses them, by one-time urls."""
