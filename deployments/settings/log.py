"""What is logged, and how."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.settings.base import SettingsModel


class LogSettings(SettingsModel):
    """What is logged, and how."""

    format: Annotated[
        Literal["json", "console"],
        Field(description="How the log files are written: json, a record a line, or console, the text of the console."),
    ] = "json"
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="The least important lines that are logged.")
    ] = "INFO"
    include_prompts: Annotated[bool, Field(description="Whether the log has the prompts of tasks.")] = False
