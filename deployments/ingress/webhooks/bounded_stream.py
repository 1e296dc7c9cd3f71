"""Bounds the bytes read from a receiver, because httpcore reads interim responses (1xx) without limit."""

import re
import ssl
from typing import Any

import httpcore

MAX_ANSWER_BYTES = 64 * 1024
"""Maximum bytes of status and headers; nothing else of a response is read. No library accepts larger headers."""
MAX_INTERIM_ANSWERS = 8
"""RFC 9110, section 15.2: a client must accept one or more. Receivers have no use for many."""
INTERIM = re.compile(rb"(?:^|\n)HTTP/1\.[01] 1\d\d")
OVERLAP = len("\nHTTP/1.1 10")
"""Number of bytes kept from the previous read, so that the first line of an interim response is found across reads."""
READ_BYTES = 4096


class TooMuchAnswer(Exception):
    """A receiver sends more than a response needs."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection with limits on the bytes and interim responses that it reads. `read` raises TooMuchAnswer."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._bytes_read = 0
        self._interim = 0
        self._end = b"\n"

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's own
        """Read the bytes that have arrived. Raises TooMuchAnswer."""
        content = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._bytes_read += len(content)
        self._interim += len(INTERIM.findall(self._end + content))
        self._end = (self._end + content)[-OVERLAP:]
        if self._bytes_read > MAX_ANSWER_BYTES or self._interim > MAX_INTERIM_ANSWERS:
            raise TooMuchAnswer
        return content

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send bytes."""
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
        """Start TLS, and keep the same limits."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return connection details that httpcore asks for."""
        return self._stream.get_extra_info(info)
