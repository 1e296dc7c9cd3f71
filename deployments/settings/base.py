"""The base class of all settings sections."""

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """A section of the settings. It is immutable and rejects unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ENV_PREFIX = "LTX2_"
ENV_NESTED_DELIMITER = "__"
SQLITE_SCHEME = "sqlite:///"
FILE_SCHEME = "file:"
