"""Describes a video request and renders it with LTX-2. Does not import Ray, an HTTP framework or storage."""
