"""The output store in a bucket of any S3-compatible server."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StoreUnavailable
from storage.outputs.s3_client import code_of, open_clients, translate_s3_errors
from storage.outputs.s3_options import S3Options
from storage.outputs.store import CHUNK_BYTES, ListedFile, StoredFile, check_key
from storage.ttl_cache import TtlCache

MISSING = frozenset({"404", "NoSuchKey"})
NOT_CONDITIONAL = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"})
"""What servers say that do not know a copy with If-None-Match."""
PRECONDITION_FAILED = frozenset({"PreconditionFailed", "412"})
LOOK_DELAYS_S = (0.0, 0.1, 0.3, 1.0, 2.0)
"""What is waited before each look at a file that was written: on some servers reads lag behind writes."""
MEDIA_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg"}
CHECK_INTERVAL_S = 10.0
CHECK_TIMEOUT_S = 5.0
"""Of each of the check's three requests: whoever asks for our health waits for it."""

logger = logging.getLogger("ray.serve")


class S3OutputStore:
    """Files under a prefix of a bucket.

    S3 promises that an upload appears whole or not at all, and not every server keeps that. So what a server answers
    to a write is believed after a look, and nothing is deleted until what takes its place was seen.
    """

    def __init__(self, bucket: str, prefix: str, options: S3Options) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._client, self._signer, checker = open_clients(
            options, options.public(), options.impatient(CHECK_TIMEOUT_S)
        )
        self._check = _Check(checker, bucket, self._prefix)
        self._knows_conditions = True
        """Until the server shows that it does not judge If-None-Match of a copy by the copy's target."""
        self._transfer = TransferConfig(
            multipart_threshold=options.multipart_threshold_bytes, multipart_chunksize=options.part_bytes
        )

    def put(self, key: str, source: Path | bytes) -> None:
        """Upload, in parts when the file is large, and look. boto3 ends an upload that fails half-way."""
        name = self._name(key)
        with translate_s3_errors():
            size_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
            self._upload(name, source, _media_type(key))
            if self._await_file(name, size_bytes) is None:
                raise StoreUnavailable(f"the output store took {key} and does not show it with its {size_bytes} bytes")

    def publish(self, staged: str, key: str) -> StoredFile:
        """Copy within the bucket, unless the final name is taken, look, and only then remove the staged file."""
        source, target = self._name(staged), self._name(key)
        with translate_s3_errors():
            waiting = self._await_file(source)
            if waiting is None:
                raise StoreUnavailable(f"{staged} is not in the output store")
            found = self._move_into_place(source, target, waiting.size_bytes)
        self._delete_staged(staged)
        return found

    def stat(self, key: str) -> StoredFile | None:
        """Describe a file."""
        name = self._name(key)
        with translate_s3_errors():
            return self._describe(name)

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read by one streamed GET. Raises FileNotFoundError at once."""
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
        """Remove a file."""
        name = self._name(key)
        with translate_s3_errors():
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """One request; S3 lists at most 1000."""
        where = {"Prefix": self._prefix + prefix, "StartAfter": self._prefix + (after or prefix)}
        with translate_s3_errors():
            found = self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=limit, **where).get("Contents", [])
        return [_listed(each, each["Key"].removeprefix(self._prefix)) for each in found]

    def free_bytes(self) -> None:
        """A bucket has no end."""

    def check_health(self) -> None:
        """Write, list and remove a small file, at most every CHECK_INTERVAL_S; in between, say what came of it last."""
        self._check()

    def presign_url(self, key: str, expires_s: int, filename: str) -> str:
        """A url that reads the file without credentials for `expires_s`, to be shown under `filename`."""
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
        """Look until the file is there, with this size where one is named; None where it does not come to that."""
        for delay_s in LOOK_DELAYS_S:
            time.sleep(delay_s)
            found = self._describe(name)
            if found and size_bytes in (None, found.size_bytes):
                return found
        return None

    def _move_into_place(self, source: str, target: str, size_bytes: int) -> StoredFile:
        """Have the file under its final name. Raises what the last copy met, unless the file was seen after it.

        A file of the same size is one that an earlier try has published: it stays. One of another size is no file of
        a completed task, and perhaps not whole: it is replaced.
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
            f"the output store says that it copied {target} and does not show it with its {size_bytes} bytes"
        )

    def _copy_if_absent(self, source: str, target: str, size_bytes: int) -> StoredFile | None:
        """Copy on the condition that nobody else has, and say what is there then.

        A server that does not know the condition, or judges it by the source, is not asked for it again.
        """
        failure = self._copy(source, target, IfNoneMatch="*")
        code = code_of(failure) if isinstance(failure, ClientError) else ""
        if code in NOT_CONDITIONAL:
            self._knows_conditions = False
            return None
        found = self._await_file(target, size_bytes)
        if found is None and code in PRECONDITION_FAILED and self._describe(target) is None:
            self._knows_conditions = False
            logger.warning("the output store does not judge If-None-Match of a copy by its target: copied without it")
        return found

    def _copy(self, source: str, target: str, **condition: str) -> ClientError | BotoCoreError | None:
        """Copy, and say what went wrong. A copy that failed may have been made all the same."""
        names = {"Bucket": self._bucket, "Key": target, "CopySource": {"Bucket": self._bucket, "Key": source}}
        try:
            self._client.copy_object(**names, **condition)
        except (ClientError, BotoCoreError) as error:
            return error
        return None

    def _delete_staged(self, staged: str) -> None:
        """The file is published: what is left of it here is met again by the retention."""
        try:
            self.delete(staged)
        except StoreUnavailable as error:
            logger.warning("%s goes later: %s", staged, error.message)


class _Check:
    """Whether the bucket can be used, remembered for a while: health is asked every second, and requests cost."""

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


def _stored(found: dict[str, Any], name: str) -> StoredFile:
    """What a HEAD says. Some servers send no ETag: time and size then tell one content from another."""
    if "ContentLength" not in found:
        raise StoreUnavailable(f"the output store does not say how large {name} is")
    size_bytes, modified_at = found["ContentLength"], _modified_at(found)
    etag = found.get("ETag", "").strip('"') or f"{int(modified_at):x}-{size_bytes:x}"
    return StoredFile(size_bytes, modified_at, etag)


def _listed(found: dict[str, Any], key: str) -> ListedFile:
    return ListedFile(key, _modified_at(found))


def _modified_at(found: dict[str, Any]) -> float:
    """A file without a time counts as new: old ones that nobody needs are removed."""
    return float(found["LastModified"].timestamp()) if "LastModified" in found else time.time()


def _chunks(body: Any) -> Iterator[bytes]:
    """First nothing: a generator that has begun ends the answer, also when nobody reads on."""
    with translate_s3_errors(), contextlib.closing(body):
        yield b""
        yield from body.iter_chunks(CHUNK_BYTES)


def _media_type(key: str) -> str:
    suffixes = key.removesuffix(".part").split(".")
    return next((MEDIA_TYPES[each] for each in suffixes if each in MEDIA_TYPES), "application/octet-stream")
