"""What all sections have in common."""

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """One part of the settings: it does not change, and a name that it does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
