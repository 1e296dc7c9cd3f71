"""Routers of the native API, one module for each group of routes."""
