"""Outgoing connections of webhooks.

A host name is resolved once, all its addresses are checked, and the connection goes to a checked address. So a second,
different DNS answer cannot redirect the connection. Proxies are not used, and redirects are not followed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Annotated

import httpcore
from httpcore import SOCKET_OPTION
from pydantic import AnyHttpUrl, TypeAdapter, UrlConstraints, ValidationError

from deployments.ingress.webhooks.bounded_stream import MAX_ANSWER_BYTES, BoundedStream
from deployments.settings import WebhookSettings
from models.errors import InvalidRequest
from models.request.request import MAX_URL_CHARS, VideoRequest

Address = IPv4Address | IPv6Address

NEVER: dict[str, str] = {
    "0.0.0.0/8": "this network (RFC 791): 0.0.0.0 is the host itself",
    "10.0.0.0/8": "private (RFC 1918)",
    "100.64.0.0/10": "shared behind a carrier's NAT (RFC 6598); Alibaba Cloud's metadata at 100.100.100.200",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "168.63.129.16/32": "Azure's WireServer, which only its virtual machines reach",
    "169.254.0.0/16": "link-local (RFC 3927): the metadata of most clouds",
    "172.16.0.0/12": "private (RFC 1918)",
    "192.0.0.0/24": "IETF protocol assignments (RFC 6890); metadata of Oracle's older cloud at 192.0.0.192",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.31.196.0/24": "AS112 (RFC 7535): any nearby network may answer",
    "192.52.193.0/24": "AMT (RFC 7450): any nearby network may answer",
    "192.88.99.0/24": "6to4 relays, deprecated (RFC 7526): any nearby network may answer",
    "192.168.0.0/16": "private (RFC 1918)",
    "192.175.48.0/24": "AS112 (RFC 7534): any nearby network may answer",
    "198.18.0.0/15": "benchmarks of networks (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved (RFC 1112), and broadcast",
    "::/96": "unspecified, loopback, and IPv4-compatible addresses, deprecated (RFC 4291)",
    "::ffff:0:0:0/96": "IPv4-translated (RFC 2765)",
    "64:ff9b:1::/48": "NAT64 for local use (RFC 8215): it may lead to private IPv4 addresses",
    "100::/64": "discard (RFC 6666)",
    "100:0:0:1::/64": "dummy prefix (RFC 9780)",
    "2001::/23": "IETF protocol assignments (RFC 2928), Teredo and ORCHID among them",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2620:4f:8000::/48": "AS112 (RFC 7534): any nearby network may answer",
    "3fff::/20": "documentation (RFC 9637)",
    "5f00::/16": "segment routing (RFC 9602)",
    "fc00::/7": "unique local, private (RFC 4193); AWS's metadata at fd00:ec2::254",
    "fe80::/10": "link-local (RFC 4291)",
    "fec0::/10": "site-local, deprecated (RFC 3879)",
    "ff00::/8": "multicast (RFC 4291)",
}
"""Networks that webhooks never connect to, whatever Python's `is_global` returns, each with the reason."""
NEVER_IPV4 = tuple(IPv4Network(each) for each in NEVER if ":" not in each)
NEVER_IPV6 = tuple(IPv6Network(each) for each in NEVER if ":" in each)
NAT64 = IPv6Network("64:ff9b::/96")
"""The last 32 bits of such an address are an IPv4 address (RFC 6052)."""


def is_public(address: Address) -> bool:
    """Whether the address is on the public internet. If an IPv6 address contains an IPv4 address, that one decides."""
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False  # a scope id limits the address to one link
    return address.is_global and not address.is_multicast and not any(address in each for each in _never(address))


def parse_address(host: str) -> Address | None:
    """Parse a host as an IP address, with or without the brackets of a url; None for a host name."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _never(address: Address) -> tuple[IPv4Network, ...] | tuple[IPv6Network, ...]:
    return NEVER_IPV4 if isinstance(address, IPv4Address) else NEVER_IPV6


def _inner(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 address: mapped, NAT64 or 6to4. Teredo addresses are in NEVER instead."""
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


Resolve = Callable[[str], Awaitable[list[Address]]]
"""Resolves a host to its addresses. Raises OSError."""

MAX_TRIED = 2
"""The number of addresses of one name to try before the attempt fails."""


class PrivateAddressError(Exception):
    """A host resolves to an address that webhooks may not connect to."""


class Resolver:
    """The system's resolver, in its own threads: a name server that does not answer blocks no other thread pool."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "webhook-names")

    async def __call__(self, host: str) -> list[Address]:
        """The addresses of a host without duplicates, in the system's order of preference."""
        find = asyncio.get_running_loop().run_in_executor
        found = await find(self._threads, lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        addresses = [parse_address(str(each[4][0])) for each in found]
        return list(dict.fromkeys(each for each in addresses if each is not None))

    def close(self) -> None:
        """Stop the threads. A thread that is resolving a name ends after that lookup."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class PublicNetworkBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses; with `allow_private` also to private ones."""

    def __init__(self, resolve: Resolve, *, allow_private: bool, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._max_answer_bytes = max_answer_bytes
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to one of the host's addresses. Raises PrivateAddressError if any of them is not allowed."""
        addresses = await self._addresses(host)
        for number, address in enumerate(addresses, 1):
            try:
                stream = await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
                return BoundedStream(stream, self._max_answer_bytes)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses):
                    raise
        raise httpcore.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str) -> list[Address]:
        try:
            addresses = await self._resolve(host)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
            raise httpcore.ConnectError(f"{host} could not be looked up") from error
        if not self._allow_private and not all(is_public(each) for each in addresses):
            raise PrivateAddressError(f"{host} leads to an address that is not public")
        return addresses[:MAX_TRIED]


FIELD = "webhook_url"
URL = TypeAdapter(Annotated[AnyHttpUrl, UrlConstraints(max_length=MAX_URL_CHARS)])
UNSIGNED = "left out: this server sends no webhooks until webhooks.secret (LTX2_WEBHOOKS__SECRET) is set"
ALLOWED = f"an http or https url of at most {MAX_URL_CHARS} characters"


def check_webhook(request: VideoRequest, settings: WebhookSettings) -> VideoRequest:
    """Return the request with its url in normalized form. Raises InvalidRequest."""
    if request.webhook_url is None:
        return request
    if settings.secret is None:
        raise InvalidRequest(FIELD, request.webhook_url, UNSIGNED)
    url = check_url(FIELD, request.webhook_url, allow_private=settings.allow_private)
    return request.model_copy(update={FIELD: url})


def check_url(field: str, given: str, *, allow_private: bool) -> str:
    """Return the url of a field in normalized form. Raises InvalidRequest."""
    try:
        url = URL.validate_python(given)
    except ValidationError:
        raise InvalidRequest(field, given, ALLOWED) from None
    if url.username or url.password:
        raise InvalidRequest(field, _without_credentials(url), "a url without a user name and a password")
    if not allow_private and _is_private(url.host or ""):
        raise InvalidRequest(field, given, "a url of the open internet (webhooks.allow_private)")
    if len(str(url)) > MAX_URL_CHARS:  # non-ASCII characters become longer when encoded
        raise InvalidRequest(field, given, f"{ALLOWED}, also as it is sent: %C3%A9 for é")
    return str(url)


def _is_private(host: str) -> bool:
    """Whether the host is localhost or a literal address that is not public.

    The url parser has already normalized spellings such as 0x7f.1.
    """
    address = parse_address(host)
    if address is not None:
        return not is_public(address)
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def _without_credentials(url: AnyHttpUrl) -> str:
    return f"{url.scheme}://***@{url.host}"
