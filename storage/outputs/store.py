"""The output store: files under keys, the finished videos and the pictures that wait for their task.

Keys are `outputs/NAME` and `inputs/NAME`. Methods block. They raise StoreUnavailable when the store does not answer,
and StorageFull when it has no room.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.errors import StoreUnavailable

KEY = re.compile(r"(outputs|inputs)/[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """What is known of a file without reading it. `modified_at` is in seconds since the epoch."""

    size_bytes: int
    modified_at: float
    etag: str


@dataclass(frozen=True)
class ListedFile:
    """A file as a walk over the store meets it. `modified_at` is in seconds since the epoch."""

    key: str
    modified_at: float


class OutputStore(Protocol):
    """Where files are kept."""

    def put(self, key: str, source: Path | bytes) -> None:
        """Store the file, all or nothing, in place of what may stand there."""

    def publish(self, staged: str, key: str) -> StoredFile:
        """Give a stored file its final name, and describe what was then seen under it.

        A file of the same size that already has the name stays; one of another size is replaced. The staged file goes
        once a file of its size was seen under the final name; until then it is kept, whatever the store answers.
        """

    def stat(self, key: str) -> StoredFile | None:
        """Describe a file, or say that there is none."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read `length` bytes from `start`, in chunks. Raises FileNotFoundError at once if there is no such file."""

    def delete(self, key: str) -> None:
        """Remove a file. One that is not there is no error."""

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """The first `limit` files under `outputs/` or `inputs/` whose keys come after `after`, in order of their keys.

        None says that there are no more; fewer than `limit` does not.
        """

    def presign_url(self, key: str, expires_s: int, filename: str) -> str | None:
        """A url that reads the file for `expires_s` seconds, shown as `filename`; None where there are none."""

    def free_bytes(self) -> int | None:
        """The room that is left; None where there is no end to it."""

    def check_health(self) -> None:
        """Raise StoreUnavailable unless the store answers and can be written."""


def output_key(task_id: str) -> str:
    """The key of a task's video."""
    return f"outputs/ltx2_{task_id}.mp4"


def poster_key(task_id: str) -> str:
    """The key of a task's poster."""
    return f"outputs/ltx2_{task_id}.jpg"


def input_key(task_id: str) -> str:
    """The key of the picture that a task starts from."""
    return f"inputs/{task_id}"


def staging_key(key: str, claim: int) -> str:
    """The name under which attempt number `claim` writes a file, so that no two attempts quota one."""
    return f"{key}.{claim}.part"


def check_key(key: str) -> str:
    """Return the key if it is one. Raises StoreUnavailable for a name that could leave the store."""
    if not KEY.fullmatch(key):
        raise StoreUnavailable(f"{key!r} is not a key of the output store")
    return key
