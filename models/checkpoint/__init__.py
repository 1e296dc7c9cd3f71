"""Finds, validates and describes a checkpoint."""
