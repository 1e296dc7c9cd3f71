"""Sections of the settings that need few lines: Dispatcher, Encoder, logs, retention, traces and outputs."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from sqlalchemy import URL, make_url

from deployments.settings.base import ENV_PREFIX, SettingsModel
from storage.outputs.s3_options import S3Options
from storage.sql.submit import IDEMPOTENCY_TTL_S


class DispatcherSettings(SettingsModel):
    """Settings of the Dispatcher, which claims tasks and starts their runs."""

    replicas: Annotated[
        int, Field(ge=1, description="Dispatcher replicas. More than 1 needs PostgreSQL. All share the Generators.")
    ] = 1
    num_cpus: Annotated[float, Field(ge=0, description="CPUs that Ray reserves for each Dispatcher.")] = 0.1
    poll_interval_s: Annotated[
        float, Field(gt=0, description="Time between two checks for new tasks. A submit causes an extra check.")
    ] = 1.0
    lease_s: Annotated[
        float,
        Field(ge=5, description="A Dispatcher silent for this long loses its tasks to another one."),
    ] = 60.0
    max_attempts: Annotated[
        int, Field(ge=1, description="A task fails after this many runs that lost their Generator.")
    ] = 3
    max_requeues: Annotated[
        int,
        Field(
            ge=1, description="A task fails after it was requeued this often, for example by restarts of the server."
        ),
    ] = 20
    drain_timeout_s: Annotated[
        float,
        Field(ge=0, description="When the server stops: time for running tasks to end. The rest runs again later."),
    ] = 10.0


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


class LogSettings(SettingsModel):
    """Settings of the log files."""

    format: Annotated[
        Literal["json", "console"],
        Field(description="Format of the log files. json: one JSON record per line. console: text as on the console."),
    ] = "json"
    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Minimum level of the lines that are logged.")
    ] = "INFO"
    include_prompts: Annotated[bool, Field(description="Write the prompts of tasks to the log.")] = False


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


URL_VARIABLE = f"{ENV_PREFIX}DATABASE_URL"


def without_password(url: str) -> str:
    """The url without its password, for logs and dashboards."""
    parsed = make_url(url)
    if not parsed.password and "password" not in parsed.query:
        return url
    query = parsed.difference_update_query(["password"]).query
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, query)
    return bare.render_as_string(hide_password=False)


def with_password(url: str, environment: Mapping[str, str]) -> str:
    """The url with the password from LTX2_DATABASE_URL, when that url is the same apart from the password."""
    found = next((value for name, value in environment.items() if name.upper() == URL_VARIABLE), url)
    return found if without_password(found) == url else url
