"""The base class of all settings sections."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """A section of the settings. It is immutable and rejects unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def with_secret(self, field: str, variable: str, environment: Mapping[str, str]) -> Self:
        """Copy the section with the secret of an environment variable in `field`, or with None when it has none."""
        found = (value for name, value in environment.items() if name.upper() == variable)
        return self.model_validate({**self.model_dump(), field: next(found, None)})


def absolute(path: str | Path) -> Path:
    """The path as all replicas can use it: they may have another working directory."""
    return Path(path).expanduser().absolute()


ENV_PREFIX = "LTX2_"
ENV_NESTED_DELIMITER = "__"
SQLITE_SCHEME = "sqlite:///"
FILE_SCHEME = "file:"
