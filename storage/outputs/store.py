"""The output store protocol: files under keys. It holds finished videos and the input images of waiting tasks.

Keys are `outputs/NAME` and `inputs/NAME`. Methods block. They raise StoreUnavailable when the store does not answer,
and StorageFull when it has no space.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from models.errors import StoreUnavailable

KEY = re.compile(r"(outputs|inputs)/[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """Metadata of a file. `modified_at` is in seconds since the epoch."""

    size_bytes: int
    modified_at: float
    etag: str


@dataclass(frozen=True)
class ListedFile:
    """An entry of a listing. `modified_at` is in seconds since the epoch."""

    key: str
    modified_at: float


class OutputStore(Protocol):
    """A store of input and output files."""

    def put(self, key: str, source: Path | bytes) -> None:
        """Store a file atomically. An existing file under `key` is replaced."""

    def publish(self, staged: str, key: str) -> StoredFile:
        """Give a staged file its final name. Returns the metadata that was then read under that name.

        An existing file of the same size stays; one of another size is replaced. The staged file is deleted only after
        a file of its size was seen under the final name, whatever the store answered to the write.
        """

    def stat(self, key: str) -> StoredFile | None:
        """Read the metadata of a file. None when it does not exist."""

    def open(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read `length` bytes from `start`, in chunks. Raises FileNotFoundError at once if the file does not exist."""

    def delete(self, key: str) -> None:
        """Delete a file. No error when it does not exist."""

    def list(self, prefix: str, after: str, limit: int) -> Sequence[ListedFile]:
        """The first `limit` files under `outputs/` or `inputs/` whose keys come after `after`, sorted by key.

        An empty result means that there are no more files. A result shorter than `limit` does not.
        """

    def presign_url(self, key: str, expires_s: int, filename: str) -> str | None:
        """A url that allows reading the file for `expires_s` seconds. None when the store has no signed urls.

        `filename` is the name that a browser shows or saves the file under.
        """

    def free_bytes(self) -> int | None:
        """Free space in bytes. None when the store has no limit."""

    def check_health(self) -> None:
        """Raise StoreUnavailable unless the store answers and accepts writes."""


def output_key(task_id: str) -> str:
    """The key of the video of a task."""
    return f"outputs/ltx2_{task_id}.mp4"


def poster_key(task_id: str) -> str:
    """The key of the poster of a task."""
    return f"outputs/ltx2_{task_id}.jpg"


MEDIA_TYPES = {
    "mp4": "video/mp4",
    "jpg": "image/jpeg",
    "png": "image/png",
    "wav": "audio/wav",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "gif": "image/gif",
}
"""The media types of output files, by the ending of their keys."""


class DerivedFile(StrEnum):
    """A file that is made from a completed video when a client first asks for it. The value is the end of its name."""

    AUDIO = "audio.wav"
    """The audio, as 16-bit PCM."""
    LAST_FRAME = "last_frame.png"
    """The last frame, in the size of the video."""
    THUMBNAIL = "thumbnail.jpg"
    """The poster, small."""
    SPRITESHEET = "spritesheet.jpg"
    """Frames from the whole video, in one image."""
    WEBM = "video.webm"
    """The video as VP9 and Opus, for web pages."""
    MOV = "video.mov"
    """The video as ProRes 422 and PCM, for editors."""
    GIF = "video.gif"
    """The video as a small GIF without audio."""


def derived_key(task_id: str, kind: DerivedFile) -> str:
    """The key of a file that is made from the video of a task."""
    return f"outputs/ltx2_{task_id}.{kind}"


def all_output_keys(task_id: str) -> tuple[str, ...]:
    """The keys of all files that a completed task may have."""
    return output_key(task_id), poster_key(task_id), *(derived_key(task_id, kind) for kind in DerivedFile)


def preview_key(task_id: str) -> str:
    """The key of the preview of a task that is being rendered."""
    return f"outputs/ltx2_{task_id}.preview.jpg"


def input_key(task_id: str) -> str:
    """The key of the input image of a task."""
    return f"inputs/{task_id}"


def all_keys(task_id: str) -> tuple[str, ...]:
    """The keys of all files that a task may have, whatever its state."""
    return *all_output_keys(task_id), preview_key(task_id), input_key(task_id)


def staging_key(key: str, claim: int) -> str:
    """The key under which the run with claim token `claim` writes a file, so that no two runs share a key."""
    return f"{key}.{claim}.part"


def check_key(key: str) -> str:
    """Return the key if it is valid. Raises StoreUnavailable for a name that could leave the store."""
    if not KEY.fullmatch(key):
        raise StoreUnavailable(f"{key!r} is not a key of the output store")
    return key
