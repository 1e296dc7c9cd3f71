"""A resumable download: written to a temporary file, resumed after a lost connection, renamed when complete."""

import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ltx2_client.core import Response
from ltx2_client.errors import DownloadFailed

OK, PARTIAL, UNSATISFIABLE = 200, 206, 416
CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
LENGTH = re.compile(r"[0-9]{1,18}")


class ResumableDownload:
    """A sink that may begin several times. If the context ends without `publish`, no file remains."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        self._etag: str | None = None
        self._total: int | None = None
        self.size = 0

    def __enter__(self) -> Self:
        with self._explained():
            self._file = self._path.open("xb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # a failed write fails again when the file is closed
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise DownloadFailed for file errors."""
        try:
            yield
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DownloadFailed(f"{self._target} cannot be written: {why}") from error

    @property
    def whole(self) -> bool:
        """True if all bytes have arrived."""
        return self._total is not None and self.size == self._total

    def headers(self) -> dict[str, str]:
        """Return the request headers: a range for the rest of the same file if a part has arrived."""
        if self.size == 0 or self._etag is None:
            return {"Accept-Encoding": "identity"}
        return {"Accept-Encoding": "identity", "Range": f"bytes={self.size}-", "If-Range": self._etag}

    def begin(self, answer: Response) -> bool:
        """Prepare for this response: the rest, the whole file from its start, or nothing usable."""
        span = CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status == PARTIAL and span and int(span[1]) == self.size:
            self._total = int(span[2])
            return True
        if answer.status in (OK, PARTIAL, UNSATISFIABLE):
            self._start_over()
        if answer.status != OK:
            return False
        self._etag = answer.headers.get("etag")
        length = answer.headers.get("content-length", "")
        self._total = int(length) if LENGTH.fullmatch(length) else None
        return True

    def write(self, chunk: bytes) -> None:
        """Write the next bytes."""
        with self._explained():
            self._file.write(chunk)
        self.size += len(chunk)

    def end(self) -> None:
        """Note that the body ended without an error. If its length was unknown, the file is now complete."""
        if self._total is None:
            self._total = self.size

    def publish(self) -> Path:
        """Move the file to its final name, and replace an existing file."""
        with self._explained():
            self._file.close()
            return self._path.replace(self._target)

    def _start_over(self) -> None:
        with self._explained():
            self._file.seek(0)
            self._file.truncate()
        self.size, self._etag, self._total = 0, None, None
