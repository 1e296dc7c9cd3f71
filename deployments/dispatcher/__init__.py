"""The deployment that claims tasks and runs each through the Generator and the Encoder."""
