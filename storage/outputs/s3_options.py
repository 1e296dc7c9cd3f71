"""Connection settings of the S3 store. Credentials are not among them: they come from the standard AWS chain."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024


class S3Options(BaseModel):
    """Used when `outputs.url` is s3://BUCKET/PREFIX."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: Annotated[str | None, Field(pattern="^https?://", description="Url of the S3 server. null: AWS.")] = (
        None
    )
    public_endpoint_url: Annotated[
        str | None,
        Field(
            pattern="^https?://", description="The S3 server as clients reach it, for signed urls. null: endpoint_url."
        ),
    ] = None
    region: Annotated[str | None, Field(description="AWS region. null: from the AWS chain.")] = None
    addressing_style: Annotated[
        Literal["auto", "path", "virtual"],
        Field(description="Where the bucket is in a url: in the path, or in the host (virtual)."),
    ] = "auto"
    multipart_threshold_bytes: Annotated[
        int, Field(ge=5 * MIB, description="Files of this size or larger are uploaded in parts.")
    ] = 64 * MIB
    part_bytes: Annotated[int, Field(ge=5 * MIB, description="Size of one part.")] = 16 * MIB
    connect_timeout_s: Annotated[float, Field(gt=0, description="Maximum time to connect.")] = 5.0
    read_timeout_s: Annotated[float, Field(gt=0, description="Maximum time without data from the server.")] = 20.0
    max_attempts: Annotated[int, Field(ge=1, description="Maximum tries of one request, including the first.")] = 3

    def public(self) -> "S3Options":
        """Copy the options for the url that clients use, to sign urls."""
        return self.model_copy(update={"endpoint_url": self.public_endpoint_url or self.endpoint_url})

    def impatient(self, timeout_s: float) -> "S3Options":
        """Copy the options with one try per request and timeouts of at most `timeout_s`."""
        return self.model_copy(
            update={
                "connect_timeout_s": min(self.connect_timeout_s, timeout_s),
                "read_timeout_s": min(self.read_timeout_s, timeout_s),
                "max_attempts": 1,
            }
        )
