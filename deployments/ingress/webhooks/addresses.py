"""Which addresses a webhook may lead to. A client names the url, so it must not reach what only this server can."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address stands in its last 32 bits (RFC 6052)."""


def is_public(address: Address) -> bool:
    """Whether the address is one of the open internet's, also behind the ways to write an IPv4 address as IPv6."""
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or local)


def parse_address(host: str) -> Address | None:
    """The address that a host spells out, with or without the brackets of a url; None for a name."""
    try:
        return ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _inner(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
