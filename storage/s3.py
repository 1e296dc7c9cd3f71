"""The output store in a bucket of any S3-compatible server."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from models.errors import StoreUnavailable
from storage.outputs import CHUNK_BYTES, ListedFile, StoredFile, check_key
from storage.s3_client import answering, code_of, open_clients
from storage.s3_options import S3Options

MISSING = frozenset({"404", "NoSuchKey"})
NOT_CONDITIONAL = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501"})
"""What servers say that do not know a copy with If-None-Match."""
MEDIA_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg"}
CHECK_INTERVAL_S = 10.0
CHECK_TIMEOUT_S = 5.0
"""Of each of the check's three requests: whoever asks for our health waits for it."""


class S3OutputStore:
    """Files under a prefix of a bucket. An upload appears whole or not at all: that is S3's own promise."""

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client, self._signer, checker = open_clients(
            options, options.public(), options.impatient(CHECK_TIMEOUT_S)
        )
        self._check = _Check(checker, bucket, self._prefix)
        self._transfer = TransferConfig(
            multipart_threshold=options.multipart_threshold_bytes, multipart_chunksize=options.part_bytes
        )

    def put(self, key: str, source: Path | bytes) -> None:
        """Upload, in parts when the file is large; boto3 ends an upload that fails half-way."""
        name, media_type = self._name(key), _media_type(key)
        with answering():
            if isinstance(source, bytes):
                self._client.put_object(Bucket=self._bucket, Key=name, Body=source, ContentType=media_type)
                return
            extra = {"ContentType": media_type}
            self._client.upload_file(str(source), self._bucket, name, ExtraArgs=extra, Config=self._transfer)

    def publish(self, staged: str, key: str) -> None:
        """Copy within the bucket, unless the final name is taken, and remove the staged file."""
        source, target = self._name(staged), self._name(key)
        with answering():
            if self._head(target) is None:
                self._copy(source, target)
            elif self._head(source) is None:
                raise StoreUnavailable(f"{staged} is not in the output store")
            self._client.delete_object(Bucket=self._bucket, Key=source)

    def stat(self, key: str) -> StoredFile | None:
        """Describe a file."""
        name = self._name(key)
        with answering():
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
        with answering():
            found = _unless_missing(self._client.get_object, Bucket=self._bucket, Key=name, **wanted)
        if found is None:
            raise FileNotFoundError(key)
        chunks = _chunks(found["Body"])
        next(chunks)
        return chunks

    def delete(self, key: str) -> None:
        """Remove a file."""
        name = self._name(key)
        with answering():
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """One request; S3 lists at most 1000."""
        where = {"Prefix": self._prefix + prefix, "StartAfter": self._prefix + (after or prefix)}
        with answering():
            found = self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=limit, **where).get("Contents", [])
        names = ((each["Key"].removeprefix(self._prefix), each["LastModified"].timestamp()) for each in found)
        return [ListedFile(key, modified_at) for key, modified_at in names]

    def free_bytes(self) -> None:
        """A bucket has no end."""

    def check(self) -> None:
        """Write, list and remove a small file, at most every CHECK_INTERVAL_S; in between, say what came of it last."""
        self._check()

    def sign(self, key: str, expires_s: int, filename: str) -> str:
        """A url that reads the file without credentials for `expires_s`, to be shown under `filename`."""
        wanted = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentType": _media_type(key),
            "ResponseContentDisposition": f'inline; filename="{filename}"',
        }
        with answering():
            return str(self._signer.generate_presigned_url("get_object", Params=wanted, ExpiresIn=expires_s))

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _head(self, name: str) -> dict[str, Any] | None:
        return _unless_missing(self._client.head_object, Bucket=self._bucket, Key=name)

    def _copy(self, source: str, target: str) -> None:
        """Copy if the target is not there; a server that knows no such condition is trusted to the look before."""
        names = {"Bucket": self._bucket, "Key": target, "CopySource": {"Bucket": self._bucket, "Key": source}}
        try:
            self._client.copy_object(**names, IfNoneMatch="*")
        except ClientError as error:
            if code_of(error) in NOT_CONDITIONAL:
                self._client.copy_object(**names)
            elif code_of(error) != "PreconditionFailed":
                raise


class _Check:
    """Whether the bucket can be used, remembered for a while: health is asked every second, and requests cost."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._names = {"Bucket": bucket, "Key": f"{prefix}outputs/check-{uuid4().hex}"}
        self._listed = {"Bucket": bucket, "Prefix": self._names["Key"], "MaxKeys": 1}
        self._lock = threading.Lock()
        self._ends_at = 0.0
        self._failure: str | None = None

    def __call__(self) -> None:
        with self._lock:
            if time.monotonic() >= self._ends_at:
                self._failure = self._ask()
                self._ends_at = time.monotonic() + CHECK_INTERVAL_S
            failure = self._failure
        if failure is not None:
            raise StoreUnavailable(failure)

    def _ask(self) -> str | None:
        try:
            with answering():
                self._client.put_object(**self._names, Body=b"ok")
                self._client.list_objects_v2(**self._listed)  # who may not list is told 403 of a file that is not there
                self._client.delete_object(**self._names)
        except StoreUnavailable as error:
            return error.message
        return None


def _unless_missing(read: Any, **wanted: Any) -> dict[str, Any] | None:
    """The answer to a read of one file; None where there is no such file."""
    try:
        found: dict[str, Any] = read(**wanted)
    except ClientError as error:
        if code_of(error) in MISSING:
            return None
        raise
    return found


def _chunks(body: Any) -> Iterator[bytes]:
    """First nothing: a generator that has begun ends the answer, also when nobody reads on."""
    with answering(), contextlib.closing(body):
        yield b""
        yield from body.iter_chunks(CHUNK_BYTES)


def _media_type(key: str) -> str:
    suffixes = key.removesuffix(".part").split(".")
    return next((MEDIA_TYPES[each] for each in suffixes if each in MEDIA_TYPES), "application/octet-stream")
