"""How the S3 store is spoken to. Credentials are not among it: they come from the standard AWS chain alone."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024


class S3Options(BaseModel):
    """Used when `outputs.url` is s3://BUCKET/PREFIX."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint_url: Annotated[str | None, Field(pattern="^https?://", description="The server's url; null for AWS.")] = (
        None
    )
    public_endpoint_url: Annotated[
        str | None,
        Field(pattern="^https?://", description="The same as clients reach it, for signed urls; null: endpoint_url."),
    ] = None
    region: Annotated[str | None, Field(description="Region; null takes it from the AWS chain.")] = None
    addressing_style: Annotated[
        Literal["auto", "path", "virtual"], Field(description="Whether the bucket stands in the path or the host.")
    ] = "auto"
    multipart_threshold_bytes: Annotated[
        int, Field(ge=5 * MIB, description="Files of so many bytes or more go up in parts.")
    ] = 64 * MIB
    part_bytes: Annotated[int, Field(ge=5 * MIB, description="Size of a part, in bytes.")] = 16 * MIB
    connect_timeout_s: Annotated[float, Field(gt=0, description="How long a connection may take, in seconds.")] = 5.0
    read_timeout_s: Annotated[float, Field(gt=0, description="How long the server may be silent, in seconds.")] = 20.0
    max_attempts: Annotated[int, Field(ge=1, description="Tries of one request, the first included.")] = 3

    def public(self) -> "S3Options":
        """The same server as clients see it."""
        return self.model_copy(update={"endpoint_url": self.public_endpoint_url or self.endpoint_url})

    def impatient(self, timeout_s: float) -> "S3Options":
        """The same server, asked once and not waited for longer than `timeout_s`."""
        return self.model_copy(
            update={
                "connect_timeout_s": min(self.connect_timeout_s, timeout_s),
                "read_timeout_s": min(self.read_timeout_s, timeout_s),
                "max_attempts": 1,
            }
        )
