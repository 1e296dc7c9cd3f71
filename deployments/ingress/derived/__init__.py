"""Makes further files from a completed video when a client asks for them: audio, images, other formats."""
