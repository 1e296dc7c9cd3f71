"""Fetches an image, an audio or a video by its url, under the guard that protects private networks from webhooks."""

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

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Fetched:
    """A kind of file, its bound in bytes, and the time in which it must be here."""

    what: str
    accept: str
    max_bytes: int
    too_large: type[InvalidRequest]
    timeout_s: float = TIMEOUT_S

    @property
    def allowed(self) -> str:
        """What a field may have, for errors."""
        return f"the url of {self.what}"


@dataclass(frozen=True)
class ImageFetcher:
    """Fetches files, as the setting `ingress.image_urls` allows. Follows no redirects and uses no proxy."""

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
            allowed = f"{self._image.allowed}: not all images came in {TIMEOUT_OF_ALL_S:g} s"
            raise InvalidRequest(late.name, Described("a url"), allowed) from None
        return tuple((image.field, content) for image, content in zip(images, contents, strict=True))

    async def fetch(self, image: ImageUrl, kind: Fetched | None = None) -> bytes:
        """Return the bytes behind the url, by default of an image. Raises InvalidRequest and `kind.too_large`."""
        kind = kind or self._image
        allowed_urls = self.settings.ingress.image_urls
        if allowed_urls == "none":
            raise refuse_url(image)
        private = allowed_urls == "any"
        url = check_url(image.name, image.url, allow_private=private, setting="ingress.image_urls")
        try:
            async with asyncio.timeout(kind.timeout_s):
                return await self._get(image.name, url, kind, private=private)
        except TooMuchAnswer:
            raise _too_large(image.name, kind) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise InvalidRequest(image.name, image.url, f"{kind.allowed}: no answer in {kind.timeout_s:g} s") from None
        except (httpcore.ConnectError, PrivateAddressError) as error:  # the same text for both, as webhooks have it
            logger.info("image url: %s: %s", type(error).__name__, error)
            raise InvalidRequest(image.name, image.url, f"{kind.allowed}: no connection to its host") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise InvalidRequest(image.name, image.url, f"{kind.allowed}: the connection broke") from None

    async def _get(self, name: str, url: str, kind: Fetched, *, private: bool) -> bytes:
        most = kind.max_bytes
        headers = [
            ("Host", urlsplit(url).netloc),
            ("User-Agent", USER_AGENT),
            ("Accept", kind.accept),
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
                raise InvalidRequest(name, url, f"{kind.allowed}: its host answered {answer.status}")
            content = bytearray()
            async for chunk in answer.aiter_stream():
                content += chunk
                if len(content) > most:
                    raise _too_large(name, kind)
            return bytes(content)

    @property
    def _image(self) -> Fetched:
        return Fetched(
            f"an image that this server can fetch ({TAKEN})",
            "image/*",
            self.settings.limits.max_image_bytes,
            ImageTooLarge,
        )

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


def _too_large(name: str, kind: Fetched) -> InvalidRequest:
    return kind.too_large(name, Described("a file with more bytes"), f"a file of at most {kind.max_bytes} bytes")
