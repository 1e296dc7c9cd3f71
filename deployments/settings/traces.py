"""Settings of the traces."""

import os
from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel

ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
BASE_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def _standard_endpoint() -> str | None:
    """The endpoint from OpenTelemetry's standard variables, as its specification defines them."""
    if endpoint := os.environ.get(ENDPOINT):
        return endpoint
    base = os.environ.get(BASE_ENDPOINT)
    return f"{base.rstrip('/')}/v1/traces" if base else None


class TraceSettings(SettingsModel):
    """Settings of the traces."""

    endpoint: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^@]+$",
            description="Url of the OTLP/HTTP receiver, such as http://collector:4318/v1/traces. null: taken from "
            f"{ENDPOINT} or {BASE_ENDPOINT}; without these there are no traces.",
        ),
    ] = Field(default_factory=_standard_endpoint)
