"""How the S3 store speaks to its server: timeouts, retries, signatures, and the words for what went wrong."""

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
    """One client for each choice, of one session: that is what takes time to open. Asks nothing of the server yet."""
    with translate_s3_errors():
        session = boto3.session.Session()
        return [
            session.client("s3", endpoint_url=each.endpoint_url, region_name=each.region, config=_config(each))
            for each in choices
        ]


def _config(options: S3Options) -> Config:
    return Config(
        signature_version="s3v4",  # boto3 alone still makes presigned urls of the old kind
        s3={"addressing_style": options.addressing_style},
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": options.max_attempts},
        max_pool_connections=MAX_CONNECTIONS,
        # Servers older than 2025 refuse the checksums that boto3 would add by itself.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def code_of(error: ClientError) -> str:
    """The server's word for an error; its HTTP status where an answer has no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def translate_s3_errors() -> Iterator[None]:
    """Say in our words what the server, the network or the file refused."""
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
