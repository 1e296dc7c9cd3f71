"""Stores of input and output files: a local folder or an S3 bucket."""
