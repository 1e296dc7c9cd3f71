"""What is forgotten, and when."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel
from storage.sql.submit import IDEMPOTENCY_TTL_S


class RetentionSettings(SettingsModel):
    """What is forgotten, and when."""

    output_ttl_s: Annotated[
        float | None,
        Field(ge=60, description="How long a finished video is kept; then its task reads expired. null keeps it."),
    ] = 7 * 86_400.0
    task_ttl_s: Annotated[
        float | None,
        Field(
            ge=IDEMPOTENCY_TTL_S,
            description="How long a task without a video can be asked for after its end; null keeps it.",
        ),
    ] = 30 * 86_400.0
    batch_size: Annotated[
        int, Field(ge=1, le=1000, description="Rows, and files, of each kind that are looked at once a minute.")
    ] = 200
