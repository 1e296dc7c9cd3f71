"""Fetches an image by its url, under the guard that protects private networks from webhooks."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

import httpcore
import httpx

from deployments.ingress.images.formats import TAKEN
from deployments.ingress.request_body.data_url import ImageUrl, refuse_url
from deployments.ingress.request_body.given_images import SentImage, check_total
from deployments.ingress.webhooks.bounded_stream import MAX_ANSWER_BYTES, TooMuchAnswer
from deployments.ingress.webhooks.ssrf import PrivateAddressError, PublicNetworkBackend, Resolve, Resolver, check_url
from deployments.settings import Settings
from models.errors import ImageTooLarge, InvalidRequest
from models.request.json_words import Described

TIMEOUT_S = 10.0
TIMEOUT_OF_ALL_S = 30.0
"""For all images of one request."""
CONNECT_TIMEOUT_S = 5.0
RESOLVER_THREADS = 8
HTTP_OK = 200
USER_AGENT = "ltx2-server"
ALLOWED = f"the url of an image that this server can fetch ({TAKEN})"

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class ImageFetcher:
    """Fetches images, as the setting `ingress.image_urls` allows. Follows no redirects and uses no proxy."""

    settings: Settings
    resolve: Resolve = field(default_factory=lambda: Resolver(RESOLVER_THREADS))

    async def fetch_all(self, images: Sequence[SentImage]) -> tuple[tuple[str, bytes], ...]:
        """Return the images with their fields. Those whose urls the client gave are fetched, one after the other.

        Raises InvalidRequest, ImageTooLarge.
        """
        contents: list[bytes] = []
        try:
            async with asyncio.timeout(TIMEOUT_OF_ALL_S):
                for image in images:
                    content = image.content
                    contents.append(await self.fetch(content) if isinstance(content, ImageUrl) else content)
                    check_total(image.name, contents, self.settings.limits)
        except TimeoutError:
            late = images[len(contents)]
            allowed = f"{ALLOWED}: not all images came in {TIMEOUT_OF_ALL_S:g} s"
            raise InvalidRequest(late.name, Described("a url"), allowed) from None
        return tuple((image.field, content) for image, content in zip(images, contents, strict=True))

    async def fetch(self, image: ImageUrl) -> bytes:
        """Return the bytes behind the url. Raises InvalidRequest, ImageTooLarge."""
        allowed_urls = self.settings.ingress.image_urls
        if allowed_urls == "none":
            raise refuse_url(image)
        private = allowed_urls == "any"
        url = check_url(image.name, image.url, allow_private=private, setting="ingress.image_urls")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._get(image.name, url, private=private)
        except TooMuchAnswer:
            raise self._too_large(image.name, Described("a file with more bytes")) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise InvalidRequest(image.name, image.url, f"{ALLOWED}: no answer in {TIMEOUT_S:g} s") from None
        except (httpcore.ConnectError, PrivateAddressError) as error:  # the same text for both, as webhooks have it
            logger.info("image url: %s: %s", type(error).__name__, error)
            raise InvalidRequest(image.name, image.url, f"{ALLOWED}: no connection to its host") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise InvalidRequest(image.name, image.url, f"{ALLOWED}: the connection broke") from None

    async def _get(self, name: str, url: str, *, private: bool) -> bytes:
        most = self.settings.limits.max_image_bytes
        headers = [
            ("Host", urlsplit(url).netloc),
            ("User-Agent", USER_AGENT),
            ("Accept", "image/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        timeouts = {"connect": CONNECT_TIMEOUT_S, "read": TIMEOUT_S, "write": TIMEOUT_S, "pool": TIMEOUT_S}
        network = PublicNetworkBackend(self.resolve, allow_private=private, max_answer_bytes=most + MAX_ANSWER_BYTES)
        async with (
            httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=network) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as answer,
        ):
            if answer.status != HTTP_OK:
                raise InvalidRequest(name, url, f"{ALLOWED}: its host answered {answer.status}")
            content = bytearray()
            async for chunk in answer.aiter_stream():
                content += chunk
                if len(content) > most:
                    raise self._too_large(name, Described("a file with more bytes"))
            return bytes(content)

    def _too_large(self, name: str, given: str) -> ImageTooLarge:
        return ImageTooLarge(name, given, f"a file of at most {self.settings.limits.max_image_bytes} bytes")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()
