"""Names of the settings in environment variables, and schemes of their urls."""

ENV_PREFIX = "LTX2_"
ENV_NESTED_DELIMITER = "__"
SQLITE_SCHEME = "sqlite:///"
FILE_SCHEME = "file:"
