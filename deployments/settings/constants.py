"""What the settings are called in the environment and in urls."""

ENV_PREFIX = "LTX2_"
ENV_NESTED_DELIMITER = "__"
SQLITE_SCHEME = "sqlite:///"
FILE_SCHEME = "file:"
