"""ASGI middleware, from authentication to metrics."""
