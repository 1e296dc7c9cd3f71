"""Limits how much a receiver may send: httpcore itself reads any number of interim (1xx) responses."""

import re
import ssl
from typing import Any

import httpcore

MAX_ANSWER_BYTES = 64 * 1024
"""Limit for status line and headers. The rest of a response is not read. No library accepts more headers than that."""
MAX_INTERIM_ANSWERS = 8
"""RFC 9110, section 15.2: a client must accept one or more interim responses. A receiver does not need many."""
INTERIM = re.compile(rb"(?:^|\n)HTTP/1\.[01] 1\d\d")
OVERLAP = len("\nHTTP/1.1 10")
"""The number of bytes of an interim response's first line that can be at the end of the previous read."""
READ_BYTES = 4096


class TooMuchAnswer(Exception):
    """A receiver sent more than a response needs."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that limits what the receiver may send. `read` raises TooMuchAnswer beyond the limits."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._bytes_read = 0
        self._interim = 0
        self._end = b"\n"

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's own
        """Read the available bytes. Raises TooMuchAnswer beyond the limits."""
        content = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._bytes_read += len(content)
        self._interim += len(INTERIM.findall(self._end + content))
        self._end = (self._end + content)[-OVERLAP:]
        if self._bytes_read > self._max_bytes or self._interim > MAX_INTERIM_ANSWERS:
            raise TooMuchAnswer
        return content

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send the bytes."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Start TLS on this connection. The limits also apply to the TLS stream."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._max_bytes)

    def get_extra_info(self, info: str) -> Any:
        """Return what the wrapped stream returns."""
        return self._stream.get_extra_info(info)
