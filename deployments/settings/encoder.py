"""How a clip becomes a file."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class EncoderSettings(SettingsModel):
    """How a clip becomes a file."""

    max_bytes: Annotated[
        int | None,
        Field(ge=100_000, description="Largest MP4: WhatsApp takes 16 MB; null for no cap."),
    ] = 16_000_000
    prompt_in_metadata: Annotated[
        bool, Field(description="Whether the MP4 carries the prompt for everyone who gets the file.")
    ] = False
    replicas: Annotated[int, Field(ge=1, description="Encoder replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Encoder.")] = 0.1
