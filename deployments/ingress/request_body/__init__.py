"""Reads request bodies: JSON, forms, data URLs."""
