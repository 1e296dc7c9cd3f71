"""The way in."""

from typing import Annotated

from pydantic import Field

from deployments.settings.base import SettingsModel


class IngressSettings(SettingsModel):
    """The way in."""

    replicas: Annotated[int, Field(ge=1, description="Ingress replicas.")] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray sets aside for each Ingress.")] = 0.1
    max_ongoing_requests: Annotated[
        int, Field(ge=10, description="Open requests that one replica serves at once; a tenth is kept for /health.")
    ] = 2000
    max_queued: Annotated[
        int, Field(ge=1, description="Tasks that may wait in the queue: over it a submit is a 429 with Retry-After.")
    ] = 1000
    max_sync_requests: Annotated[
        int, Field(ge=1, description="Synchronous requests that one replica holds open at once.")
    ] = 200
    body_timeout_s: Annotated[
        float, Field(gt=0, description="How long the body of a request may take to arrive, in seconds.")
    ] = 180.0
    max_image_decodes: Annotated[
        int,
        Field(ge=1, description="Pictures that one replica decodes at once; one can take 1.3 GB for a moment."),
    ] = 2
    max_uploads: Annotated[
        int,
        Field(
            ge=1,
            description="Requests with a file that one replica holds at once, from the first byte of the body until "
            "the image is decoded.",
        ),
    ] = 64
    max_event_streams: Annotated[int, Field(ge=1, description="Event streams that one replica holds open at once.")] = (
        500
    )
    max_fraction_per_key: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="The part that one API key may hold of each bound on what a replica does at once (open "
            "requests, uploads, decoding, waiting, streams); where there are several keys.",
        ),
    ] = 0.25
    sse_keepalive_s: Annotated[
        float, Field(gt=0, description="Seconds of silence after which an event stream says that it is still there.")
    ] = 15.0
