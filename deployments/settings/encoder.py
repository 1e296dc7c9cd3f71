"""Settings of the Encoder, which turns a rendered clip into an MP4."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class EncoderSettings(SettingsModel):
    """Settings of the Encoder, which turns a rendered clip into an MP4."""

    max_bytes: Annotated[
        int | None,
        Field(ge=100_000, description="Maximum size of an MP4. WhatsApp accepts 16 MB. null: no limit."),
    ] = 16_000_000
    prompt_in_metadata: Annotated[
        bool, Field(description="Write the prompt into the MP4, where everyone who has the file can read it.")
    ] = False
    replicas: Annotated[int, Field(ge=1, description="Encoder replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray reserves for each Encoder.")] = 0.1
