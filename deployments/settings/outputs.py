"""Settings of the output store, which holds the finished videos."""

from typing import Annotated, Literal

from pydantic import Field

from deployments.settings.base import SettingsModel
from storage.outputs.s3_options import S3Options


class OutputSettings(SettingsModel):
    """Settings of the output store, which holds the finished videos."""

    url: Annotated[
        str,
        Field(
            pattern=r"^(file:.+|s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._/-]*)?)$",
            description="file:FOLDER, a folder that every node can access, or s3://BUCKET/PREFIX. Credentials for S3 "
            "come from the standard AWS chain and must be allowed to list the bucket. Each database needs its own "
            "store.",
        ),
    ] = "file:data/outputs"
    s3: S3Options = S3Options()
    delivery: Annotated[
        Literal["proxy", "redirect"],
        Field(description="proxy: the server streams files itself. redirect: clients get a signed url of the bucket."),
    ] = "proxy"
    signed_url_ttl_s: Annotated[
        int,
        Field(
            ge=60,
            le=604_800,
            description="Lifetime of a signed url: of the bucket, or of this server when there are API keys.",
        ),
    ] = 3600
    min_free_bytes: Annotated[
        int, Field(ge=0, description="With less free space in the folder, a submit gets a 507. 0: no check.")
    ] = 500_000_000
