"""Reads the output store in its own threads. If the store hangs, polls and submits still have theirs."""

from collections.abc import AsyncIterator, Iterator

from deployments.ingress.concurrency.thread_pool import ThreadPool
from storage.outputs.store import OutputStore, StoredFile


class AsyncOutputReader:
    """The read methods of an output store, as coroutines."""

    def __init__(self, outputs: OutputStore, threads: ThreadPool) -> None:
        self._outputs = outputs
        self._threads = threads

    async def stat(self, key: str) -> StoredFile | None:
        """Describe a file; None if it does not exist."""
        return await self._threads.run(self._outputs.stat, key)

    async def sign(self, key: str, expires_s: int, filename: str) -> str | None:
        """Return a URL that reads the file for `expires_s` seconds, or None. May have to fetch credentials first."""
        return await self._threads.run(self._outputs.presign_url, key, expires_s, filename)

    async def open(self, key: str, start: int, length: int) -> AsyncIterator[bytes]:
        """Read `length` bytes from `start`, in chunks. Raises FileNotFoundError before the first chunk."""
        return self._stream(await self._threads.run(self._outputs.open, key, start, length))

    async def _stream(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        while chunk := await self._threads.run(next, chunks, b""):
            yield chunk
