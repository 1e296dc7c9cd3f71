"""Settings of the log files."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.settings.base import SettingsModel


class LogSettings(SettingsModel):
    """Settings of the log files."""

    format: Annotated[
        Literal["json", "console"],
        Field(description="Format of the log files. json: one JSON record per line. console: text as on the console."),
    ] = "json"
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Minimum level of the lines that are logged.")
    ] = "INFO"
    include_prompts: Annotated[bool, Field(description="Write the prompts of tasks to the log.")] = False
