"""Metric definitions, and their export to Ray's Prometheus endpoint."""
