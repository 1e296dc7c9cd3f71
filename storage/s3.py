"""The output store in a bucket of any S3-compatible server."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StoreUnavailable
from storage.outputs import CHUNK_BYTES, StoredFile, check_key
from storage.s3_options import S3Options

MISSING = frozenset({"404", "NoSuchKey"})
NOT_CONDITIONAL = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501"})
"""What servers say that do not know a copy with If-None-Match."""
MEDIA_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg"}
MAX_CONNECTIONS = 50


class S3OutputStore:
    """Files under a prefix of a bucket. An upload appears whole or not at all: that is S3's own promise."""

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        with _answering():
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=options.endpoint_url, region_name=options.region, config=_config(options)
            )
        self._transfer = TransferConfig(
            multipart_threshold=options.multipart_threshold_bytes, multipart_chunksize=options.part_bytes
        )

    def put(self, key: str, source: Path | bytes) -> None:
        """Upload, in parts when the file is large; boto3 ends an upload that fails half-way."""
        name, media_type = self._name(key), _media_type(key)
        with _answering():
            if isinstance(source, bytes):
                self._client.put_object(Bucket=self._bucket, Key=name, Body=source, ContentType=media_type)
                return
            extra = {"ContentType": media_type}
            self._client.upload_file(str(source), self._bucket, name, ExtraArgs=extra, Config=self._transfer)

    def publish(self, staged: str, key: str) -> None:
        """Copy within the bucket, unless the final name is taken, and remove the staged file."""
        source, target = self._name(staged), self._name(key)
        with _answering():
            if self._head(target) is None:
                self._copy(source, target)
            elif self._head(source) is None:
                raise StoreUnavailable(f"{staged} is not in the output store")
            self._client.delete_object(Bucket=self._bucket, Key=source)

    def stat(self, key: str) -> StoredFile | None:
        """Describe a file."""
        name = self._name(key)
        with _answering():
            found = self._head(name)
        if found is None:
            return None
        return StoredFile(found["ContentLength"], found["LastModified"].timestamp(), found["ETag"].strip('"'))

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read by one streamed GET. Raises FileNotFoundError at once."""
        name = self._name(key)
        if length == 0:
            return iter(())
        end = "" if length is None else start + length - 1
        wanted = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        with _answering():
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=name, **wanted)
            except ClientError as error:
                if _code(error) in MISSING:
                    raise FileNotFoundError(key) from None
                raise
        return _chunks(found["Body"])

    def delete(self, key: str) -> None:
        """Remove a file."""
        name = self._name(key)
        with _answering():
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def check(self) -> None:
        """Write and remove a small file where the videos go."""
        key = f"outputs/check-{uuid4().hex}"
        self.put(key, b"ok")
        self.delete(key)

    def sign(self, key: str, expires_s: int, filename: str) -> str:
        """A url that reads the file without credentials for `expires_s`, to be shown under `filename`."""
        wanted = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentType": _media_type(key),
            "ResponseContentDisposition": f'inline; filename="{filename}"',
        }
        with _answering():
            return str(self._client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=expires_s))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if _code(error) in MISSING:
                return None
            raise
        return found

    def _copy(self, source: str, target: str) -> None:
        """Copy if the target is not there; a server that knows no such condition is trusted to the look before."""
        names = {"Bucket": self._bucket, "Key": target, "CopySource": {"Bucket": self._bucket, "Key": source}}
        try:
            self._client.copy_object(**names, IfNoneMatch="*")
        except ClientError as error:
            if _code(error) in NOT_CONDITIONAL:
                self._client.copy_object(**names)
            elif _code(error) != "PreconditionFailed":
                raise


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


def _chunks(body: Any) -> Iterator[bytes]:
    with _answering(), contextlib.closing(body):
        yield from body.iter_chunks(CHUNK_BYTES)


def _media_type(key: str) -> str:
    suffixes = key.removesuffix(".part").split(".")
    return next((MEDIA_TYPES[each] for each in suffixes if each in MEDIA_TYPES), "application/octet-stream")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Say in our words what the server, the network or the file refused."""
    try:
        yield
    except ClientError as error:
        said = error.response.get("Error", {})
        reason = f"{said.get('Code')} {said.get('Message', '')}".strip()
        raise StoreUnavailable(f"the output store refused {error.operation_name}: {reason}") from error
    except (BotoCoreError, Boto3Error) as error:
        raise StoreUnavailable(f"the output store did not answer: {error}") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"the output store could not read the file: {error.strerror}") from error
