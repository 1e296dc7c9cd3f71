"""Reads the output store in a separate thread pool, so that a hanging store does not block polls and submits."""

from collections.abc import AsyncIterator, Iterator

from deployments.ingress.concurrency.thread_pool import ThreadPool
from storage.outputs.store import OutputStore, StoredFile

MAX_READS = 32
"""Maximum number of reads at once. A download holds no thread between two chunks, so slow clients occupy no thread."""


class AsyncOutputReader:
    """Read access to an output store from the event loop."""

    def __init__(self, outputs: OutputStore, threads: ThreadPool) -> None:
        self._outputs = outputs
        self._threads = threads

    async def stat(self, key: str) -> StoredFile | None:
        """Return the file's metadata, or None if the file does not exist."""
        return await self._threads.run(self._outputs.stat, key)

    async def sign(self, key: str, expires_s: int, filename: str) -> str | None:
        """Return a presigned URL that is valid for `expires_s` seconds; None if the store cannot presign.

        The store may have to fetch credentials first.
        """
        return await self._threads.run(self._outputs.presign_url, key, expires_s, filename)

    async def open(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Read `length` bytes from byte `start`, in chunks. Raises FileNotFoundError before the first chunk."""
        return self._stream(await self._threads.run(self._outputs.open, key, start, length))

    async def _stream(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        while chunk := await self._threads.run(next, chunks, b""):
            yield chunk
