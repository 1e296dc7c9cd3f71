"""Outgoing connections of webhooks.

A host name is resolved once, all its addresses are checked, and the connection goes to a checked address. So a second,
different DNS answer cannot redirect the connection. Proxies are not used, and redirects are not followed.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore
from httpcore import SOCKET_OPTION

from deployments.ingress.webhooks.addresses import Address, is_public, parse_address
from deployments.ingress.webhooks.client import BoundedStream

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

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
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
                return BoundedStream(
                    await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
                )
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
