"""S3 clients: timeouts, retries, request signing and error messages."""

import contextlib
from collections.abc import Iterator
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StoreUnavailable
from storage.outputs.s3_options import S3Options

MAX_CONNECTIONS = 50


def open_clients(*choices: S3Options) -> list[Any]:
    """Create one client per entry of `choices`. All share one session, which is slow to open. Sends no request."""
    with translate_s3_errors():
        session = boto3.session.Session()
        return [
            session.client("s3", endpoint_url=each.endpoint_url, region_name=each.region, config=_config(each))
            for each in choices
        ]


def _config(options: S3Options) -> Config:
    return Config(
        signature_version="s3v4",  # without it boto3 still creates presigned urls with an older signature
        s3={"addressing_style": options.addressing_style},
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        max_pool_connections=MAX_CONNECTIONS,
        # Servers from before 2025 reject the checksums that boto3 adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def code_of(error: ClientError) -> str:
    """The server's error code. It is the HTTP status when the answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Raise StoreUnavailable for errors of the server, the network or the local file."""
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        reason = f"{said.get('Code')} {said.get('Message', '')}".strip()
        raise StoreUnavailable(f"the output store refused {error.operation_name}: {reason}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(f"the output store did not answer: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"the output store could not read the file: {error.strerror}") from error
