"""Claims tasks and sees each through the Generator and the Encoder."""
