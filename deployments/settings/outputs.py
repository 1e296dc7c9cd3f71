"""Where finished videos go."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.settings.base import SettingsModel
from storage.outputs.s3_options import S3Options


class OutputSettings(SettingsModel):
    """Where finished videos go."""

    url: Annotated[
        str,
        Field(
            pattern=r"^(file:.+|s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?)$",
            description="file:FOLDER, a folder that every node sees, or s3://BUCKET/PREFIX, with credentials of the "
            "standard AWS chain that may list the bucket. One store belongs to one database.",
        ),
    ] = "file:data/outputs"
    s3: S3Options = S3Options()
    delivery: Annotated[
        Literal["proxy", "redirect"],
        Field(description="proxy sends files through the way in; redirect sends clients to a signed url of a bucket."),
    ] = "proxy"
    signed_url_ttl_s: Annotated[
        int,
        Field(
            ge=60,
            le=604_800,
            description="How long a signed url is good: a bucket's, or ours where there are keys.",
        ),
    ] = 3600
    min_free_bytes: Annotated[
        int, Field(ge=0, description="With less room under the folder a submit is a 507; 0 never looks.")
    ] = 500_000_000
