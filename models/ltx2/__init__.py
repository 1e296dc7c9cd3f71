"""The LTX-2 model: load, denoise, decode."""
