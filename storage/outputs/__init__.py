"""Stores of input and output files."""
