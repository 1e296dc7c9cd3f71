"""Processes the input image of a request: from the uploaded bytes to the file that the task keeps."""
