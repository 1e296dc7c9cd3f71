"""Checks whether a webhook may connect to an address.

The client chooses the url, so it must not lead to hosts that only this server can reach. Python's `is_global` follows
IANA's registries of its release date. It also treats some networks as global that lead inside a cloud. So this module
lists the forbidden networks too, each with its reason.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

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
