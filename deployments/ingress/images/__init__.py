"""The image of an image-to-video request: from the bytes that a client sent to what its task keeps."""
