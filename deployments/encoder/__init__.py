"""Turns a clip into an MP4 and puts it into the output store."""
