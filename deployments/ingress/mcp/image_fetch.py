"""Fetches an image from a URL that a client gives, with the same guard against private networks as webhooks.

Redirects are not followed, and proxies are not used.
"""

import asyncio
import contextlib
import logging

import httpcore
import httpx

from deployments.ingress.webhooks.bounded_stream import MAX_ANSWER_BYTES, TooMuchAnswer
from deployments.ingress.webhooks.client import USER_AGENT
from deployments.ingress.webhooks.ssrf import PrivateAddressError, PublicNetworkBackend, Resolver, check_url
from models.errors import ImageTooLarge, InvalidRequest
from models.request.json_words import Described

FETCH_TIMEOUT_S = 15.0
RESOLVER_THREADS = 4
HTTP_OK = 200
TLS_OVERHEAD = 1.05
"""TLS adds less than this factor to a download."""

logger = logging.getLogger("ray.serve")


class ImageFetcher:
    """Fetches images over http and https. `allow_private` also permits private addresses."""

    def __init__(self, max_bytes: int, *, allow_private: bool) -> None:
        self._max_bytes = max_bytes
        self._allow_private = allow_private
        self._resolver = Resolver(RESOLVER_THREADS)

    def close(self) -> None:
        """Stop the threads of the resolver."""
        self._resolver.close()

    async def fetch(self, field: str, given: str) -> bytes:
        """Return the bytes at a URL. Raises InvalidRequest and ImageTooLarge, with the name of the field."""
        url = check_url(field, given, allow_private=self._allow_private)
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await self._get(field, given, url)
        except TooMuchAnswer:
            raise self._too_large(field) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise InvalidRequest(field, given, f"a url that sends its image within {FETCH_TIMEOUT_S:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, PrivateAddressError) as error:
            # One message for all of them: a client must not find out which private names exist.
            logger.info("an image could not be fetched: %s: %s", type(error).__name__, error)
            raise InvalidRequest(field, given, "a url of the open internet that this server can reach") from None

    async def _get(self, field: str, given: str, url: str) -> bytes:
        bound = int(self._max_bytes * TLS_OVERHEAD) + MAX_ANSWER_BYTES
        network = PublicNetworkBackend(self._resolver, allow_private=self._allow_private, max_answer_bytes=bound)
        async with contextlib.AsyncExitStack() as stack:
            pool = await stack.enter_async_context(
                httpcore.AsyncConnectionPool(ssl_context=httpx.create_ssl_context(), network_backend=network)
            )
            headers = {"Host": httpx.URL(url).netloc.decode(), "User-Agent": USER_AGENT, "Accept": "image/*"}
            answer = await stack.enter_async_context(pool.stream("GET", url, headers=list(headers.items())))
            if answer.status != HTTP_OK:
                raise InvalidRequest(field, given, f"a url that answers 200 with an image, not {answer.status}")
            content = bytearray()
            async for chunk in answer.aiter_stream():
                content += chunk
                if len(content) > self._max_bytes:
                    raise self._too_large(field)
            return bytes(content)

    def _too_large(self, field: str) -> ImageTooLarge:
        return ImageTooLarge(field, Described("a larger file"), f"a file of at most {self._max_bytes} bytes")
