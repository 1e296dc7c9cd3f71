"""Settings of the retention, which deletes old videos and tasks."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel
from storage.sql.submit import IDEMPOTENCY_TTL_S


class RetentionSettings(SettingsModel):
    """Settings of the retention, which deletes old videos and tasks."""

    output_ttl_s: Annotated[
        float | None,
        Field(ge=60, description="How long a finished video is kept. Then its task becomes expired. null: forever."),
    ] = 7 * 86_400.0
    task_ttl_s: Annotated[
        float | None,
        Field(
            ge=IDEMPOTENCY_TTL_S,
            description="How long a task without a video is kept after its end. null: forever.",
        ),
    ] = 30 * 86_400.0
    batch_size: Annotated[
        int, Field(ge=1, le=1000, description="Maximum rows and files of each kind that one round per minute handles.")
    ] = 200
