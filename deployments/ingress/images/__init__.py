"""The image of an image-to-video request: from the client's bytes to the file that its task keeps."""
