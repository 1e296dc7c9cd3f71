"""The deployment that encodes a clip as MP4 and writes it to the output store."""
