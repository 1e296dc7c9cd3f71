"""Settings of the Ingress, which serves the HTTP API."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.settings.base import SettingsModel

ModelAlias = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
"""A model's name: printable ASCII without spaces."""


class IngressSettings(SettingsModel):
    """Settings of the Ingress, which serves the HTTP API."""

    replicas: Annotated[int, Field(ge=1, description="Ingress replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray reserves for each Ingress.")] = 0.1
    max_ongoing_requests: Annotated[
        int, Field(ge=10, description="Maximum open requests per replica. A tenth is reserved for /health.")
    ] = 2000
    max_queued: Annotated[
        int, Field(ge=1, description="Maximum queued tasks. Beyond it a submit gets a 429 with Retry-After.")
    ] = 1000
    max_sync_requests: Annotated[int, Field(ge=1, description="Maximum open synchronous requests per replica.")] = 200
    body_timeout_s: Annotated[float, Field(gt=0, description="Maximum time for the body of a request to arrive.")] = (
        180.0
    )
    max_image_decodes: Annotated[
        int,
        Field(ge=1, description="Images that one replica decodes at once. One image can take 1.3 GB for a moment."),
    ] = 2
    max_media_reads: Annotated[
        int,
        Field(ge=1, description="Audio and video files that one replica reads at once. One takes up to two CPUs."),
    ] = 2
    max_uploads: Annotated[
        int,
        Field(
            ge=1,
            description="Maximum uploads per replica. An upload counts from the first byte of its body until its image "
            "is decoded.",
        ),
    ] = 64
    max_event_streams: Annotated[int, Field(ge=1, description="Maximum open event streams per replica.")] = 500
    max_fraction_per_key: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Part of each limit per replica that one API key may use, when there are several keys: open "
            "requests, uploads, image decodes, media reads, synchronous requests, event streams.",
        ),
    ] = 0.25
    model_aliases: Annotated[
        tuple[ModelAlias, ...],
        Field(
            description="Further names of the served model, for clients that offer a fixed list. A date may follow: "
            "sora-2-2025-12-08. GET /v1/models lists them."
        ),
    ] = ("sora-2", "sora-2-pro")
    ltx_api_models: Annotated[
        tuple[ModelAlias, ...],
        Field(
            description="Further names of the served model in the hosted LTX API (docs/ltx-api.md). One that ends in "
            "-fast asks for quality fast, one that ends in -pro for exact."
        ),
    ] = ("ltx-2-fast", "ltx-2-pro", "ltx-2-3-fast", "ltx-2-3-pro", "ltx-2-5-fast", "ltx-2-5-pro")
    image_urls: Annotated[
        Literal["public", "any", "none"],
        Field(
            description="Urls of images that /v1/videos, /mcp and the LTX API fetch. public: those of the open "
            "internet. any: also those of private networks. none: no urls."
        ),
    ] = "public"
    sse_keepalive_s: Annotated[
        float, Field(gt=0, description="Time without an event until an event stream sends a keep-alive.")
    ] = 15.0
