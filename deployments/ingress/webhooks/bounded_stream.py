"""The bytes of a receiver, within bounds: httpcore reads interim answers (1xx) for as long as they come."""

import re
import ssl
from typing import Any

import httpcore

MAX_ANSWER_BYTES = 64 * 1024
"""Of status and headers, which is all that is read of an answer. More headers than that no library takes."""
MAX_INTERIM_ANSWERS = 8
"""RFC 9110, section 15.2: a client must take one or more. A receiver has no use for many."""
INTERIM = re.compile(rb"(?:^|\n)HTTP/1\.[01] 1\d\d")
OVERLAP = len("\nHTTP/1.1 10")
"""Of an interim answer's first line so much may have come with the bytes before."""
READ_BYTES = 4096


class TooMuchAnswer(Exception):
    """A receiver sends more than any answer needs."""


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection whose receiver may say so much and no more. Raises TooMuchAnswer from `read`."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._bytes_read = 0
        self._interim = 0
        self._end = b"\n"

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's own
        """Read what has come."""
        content = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        self._bytes_read += len(content)
        self._interim += len(INTERIM.findall(self._end + content))
        self._end = (self._end + content)[-OVERLAP:]
        if self._bytes_read > MAX_ANSWER_BYTES or self._interim > MAX_INTERIM_ANSWERS:
            raise TooMuchAnswer
        return content

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Send."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """End the connection."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        """Speak TLS from now on, within the same bounds."""
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks of a connection."""
        return self._stream.get_extra_info(info)
