"""What the settings are called in the environment and in urls."""

PREFIX = "LTX2_"
NESTING = "__"
SQLITE = "sqlite:///"
FOLDER = "file:"
