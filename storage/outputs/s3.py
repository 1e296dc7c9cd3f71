"""The output store in a bucket of an S3-compatible server."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StoreUnavailable
from storage.outputs.s3_options import S3Options
from storage.outputs.store import CHUNK_BYTES, MEDIA_TYPES, ListedFile, StoredFile, check_key
from storage.ttl_cache import TtlCache

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


MISSING = frozenset({"404", "NoSuchKey"})
NOT_CONDITIONAL = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"})
"""Error codes of servers that do not support If-None-Match for a copy."""
PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
LOOK_DELAYS_S = (0.0, 0.1, 0.3, 1.0, 2.0)
"""Delay before each check of a file that was written. On some servers, reads lag behind writes."""
CHECK_INTERVAL_S = 10.0
CHECK_TIMEOUT_S = 5.0
"""Timeout of each of the three requests of a health check. The answer to /health waits for them."""

logger = logging.getLogger("ray.serve")


class S3OutputStore:
    """Files under a prefix of a bucket.

    S3 guarantees that an upload appears completely or not at all, but not all servers comply. So each write is verified
    with a read, and nothing is deleted until its replacement has been read.
    """

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client, self._signer, checker = open_clients(
            options, options.public(), options.impatient(CHECK_TIMEOUT_S)
        )
        self._check = _Check(checker, bucket, self._prefix)
        self._knows_conditions = True
        """True until the server shows that it does not check If-None-Match against the target of a copy."""
        self._transfer = TransferConfig(
            multipart_threshold=options.multipart_threshold_bytes, multipart_chunksize=options.part_bytes
        )

    def put(self, key: str, source: Path | bytes) -> None:
        """Upload a file and verify it. Large files are uploaded in parts; boto3 aborts an upload that fails midway."""
        name = self._name(key)
        with translate_s3_errors():
            size_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
            self._upload(name, source, _media_type(key))
            if self._await_file(name, size_bytes) is None:
                raise StoreUnavailable(
                    f"the output store accepted {key} but does not show it with its {size_bytes} bytes"
                )

    def publish(self, staged: str, key: str) -> StoredFile:
        """Copy within the bucket unless the final name exists, verify the copy, then delete the staged file."""
        source, target = self._name(staged), self._name(key)
        with translate_s3_errors():
            waiting = self._await_file(source)
            if waiting is None:
                raise StoreUnavailable(f"{staged} is not in the output store")
            found = self._move_into_place(source, target, waiting.size_bytes)
        self._delete_staged(staged)
        return found

    def stat(self, key: str) -> StoredFile | None:
        """Read the metadata of a file. None when it does not exist."""
        name = self._name(key)
        with translate_s3_errors():
            return self._describe(name)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read with one streamed GET. Raises FileNotFoundError at once."""
        name = self._name(key)
        if length == 0:
            return iter(())
        end = "" if length is None else start + length - 1
        wanted = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        with translate_s3_errors():
            found = _unless_missing(self._client.get_object, Bucket=self._bucket, Key=name, **wanted)
        if found is None:
            raise FileNotFoundError(key)
        chunks = _chunks(found["Body"])
        next(chunks)
        return chunks

    def delete(self, key: str) -> None:
        """Delete a file. No error when it does not exist."""
        name = self._name(key)
        with translate_s3_errors():
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """List files with one request. S3 returns at most 1000 keys."""
        where = {"Prefix": self._prefix + prefix, "StartAfter": self._prefix + (after or prefix)}
        with translate_s3_errors():
            found = self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=limit, **where).get("Contents", [])
        return [_listed(each, each["Key"].removeprefix(self._prefix)) for each in found]

    def free_bytes(self) -> None:
        """Always None: a bucket has no size limit."""

    def check_health(self) -> None:
        """Write, list and delete a small file, at most every CHECK_INTERVAL_S. In between, repeat the last result."""
        self._check()

    def presign_url(self, key: str, expires_s: int, filename: str) -> str:
        """A url that reads the file without credentials for `expires_s` seconds. Browsers save it as `filename`."""
        wanted = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentType": _media_type(key),
            "ResponseContentDisposition": f'inline; filename="{filename}"',
        }
        with translate_s3_errors():
            return str(self._signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=expires_s))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _describe(self, name: str) -> StoredFile | None:
        found = _unless_missing(self._client.head_object, Bucket=self._bucket, Key=name)
        return None if found is None else _stored(found, name)

    def _upload(self, name: str, source: Path | bytes, media_type: str) -> None:
        if isinstance(source, bytes):
            self._client.put_object(Bucket=self._bucket, Key=name, Body=source, ContentType=media_type)
            return
        extra = {"ContentType": media_type}
        self._client.upload_file(str(source), self._bucket, name, ExtraArgs=extra, Config=self._transfer)

    def _await_file(self, name: str, size_bytes: int | None = None) -> StoredFile | None:
        """Check until the file exists, with this size if one is given. None when it does not within LOOK_DELAYS_S."""
        for delay_s in LOOK_DELAYS_S:
            time.sleep(delay_s)
            found = self._describe(name)
            if found and size_bytes in (None, found.size_bytes):
                return found
        return None

    def _move_into_place(self, source: str, target: str, size_bytes: int) -> StoredFile:
        """Copy the file to its final name. Raises the error of the last copy, unless the file was seen after it.

        An existing file of the same size stays: an earlier try has published it. A file of another size is replaced:
        it does not belong to a completed task and may be incomplete.
        """
        there = self._describe(target)
        if there and there.size_bytes == size_bytes:
            return there
        if there is None and self._knows_conditions and (found := self._copy_if_absent(source, target, size_bytes)):
            return found
        failure = self._copy(source, target)
        if found := self._await_file(target, size_bytes):
            return found
        raise failure or StoreUnavailable(
            f"the output store accepted a copy to {target} but does not show it with its {size_bytes} bytes"
        )

    def _copy_if_absent(self, source: str, target: str, size_bytes: int) -> StoredFile | None:
        """Copy on the condition that the target does not exist. Returns the file that is then there, or None.

        The condition is not used again on a server that does not support it or checks it against the source.
        """
        failure = self._copy(source, target, IfNoneMatch="*")
        code = code_of(failure) if isinstance(failure, ClientError) else ""
        if code in NOT_CONDITIONAL:
            self._knows_conditions = False
            return None
        found = self._await_file(target, size_bytes)
        if found is None and code in PRECONDITION_FAILED and self._describe(target) is None:
            self._knows_conditions = False
            logger.warning(
                "the output store does not check If-None-Match against the target of a copy: copied without it"
            )
        return found

    def _copy(self, source: str, target: str, **condition: str) -> ClientError | BotoCoreError | None:
        """Copy a file. Returns the error instead of raising it: a copy that failed may have been made all the same."""
        names = {"Bucket": self._bucket, "Key": target, "CopySource": {"Bucket": self._bucket, "Key": source}}
        try:
            self._client.copy_object(**names, **condition)
        except (ClientError, BotoCoreError) as error:
            return error
        return None

    def _delete_staged(self, staged: str) -> None:
        """Delete a staged file after it was published. If that fails, the retention deletes the file later."""
        try:
            self.delete(staged)
        except StoreUnavailable as error:
            logger.warning("%s is deleted later: %s", staged, error.message)


class _Check:
    """The health check of the bucket. The result is cached: /health is polled every second, and requests cost money."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._names = {"Bucket": bucket, "Key": f"{prefix}outputs/check-{uuid4().hex}"}
        self._listed = {"Bucket": bucket, "Prefix": self._names["Key"], "MaxKeys": 1}
        self._failure = TtlCache(self._ask, CHECK_INTERVAL_S)

    def __call__(self) -> None:
        if (failure := self._failure.get()) is not None:
            raise StoreUnavailable(failure)

    def _ask(self) -> str | None:
        try:
            with translate_s3_errors():
                self._client.put_object(**self._names, Body=b"ok")
                self._client.list_objects_v2(**self._listed)  # if not allowed, a missing file is a 403 instead of a 404
                self._client.delete_object(**self._names)
        except StoreUnavailable as error:
            return error.message
        return None


def _unless_missing(read: Any, **wanted: Any) -> dict[str, Any] | None:
    """Read one file. None when it does not exist."""
    try:
        found: dict[str, Any] = read(**wanted)
    except ClientError as error:
        if code_of(error) in MISSING:
            return None
        raise
    return found


def _stored(found: dict[str, Any], name: str) -> StoredFile:
    """Parse the answer to a HEAD. Some servers send no ETag; then it is made from time and size."""
    if "ContentLength" not in found:
        raise StoreUnavailable(f"the output store does not return the size of {name}")
    size_bytes, modified_at = found["ContentLength"], _modified_at(found)
    etag = found.get("ETag", "").strip('"') or f"{int(modified_at):x}-{size_bytes:x}"
    return StoredFile(size_bytes, modified_at, etag)


def _listed(found: dict[str, Any], key: str) -> ListedFile:
    return ListedFile(key, _modified_at(found))


def _modified_at(found: dict[str, Any]) -> float:
    """The time of the last change. A file without one counts as new, so that the retention does not delete it."""
    return float(found["LastModified"].timestamp()) if "LastModified" in found else time.time()


def _chunks(body: Any) -> Iterator[bytes]:
    """Yield an empty chunk first. A started generator closes the answer, even when it is not read on."""
    with translate_s3_errors(), contextlib.closing(body):
        yield b""
        yield from body.iter_chunks(CHUNK_BYTES)


def _media_type(key: str) -> str:
    suffixes = key.removesuffix(".part").split(".")
    return next((MEDIA_TYPES[each] for each in suffixes if each in MEDIA_TYPES), "application/octet-stream")
