"""Which IP addresses belong to the public Internet, by IANA's registries of special-purpose addresses (RFC 6890).

The ranges are written down here, for what `ipaddress` says of them differs between Python's releases. An IPv6 address
that carries an IPv4 address may reach that address through a translator or a tunnel, so it is refused; an address by
RFC 6052's well-known prefix, as DNS64 makes it, is as public as the address it carries.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is assigned to the public Internet; mapped, compatible, site-local and local addresses lie outside."""
_SPECIAL_V6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo, benchmarks, ORCHID and others of the IETF's
        "2001:db8::/32", "2002::/16",  # documentation; 6to4
        "3fff::/20",  # documentation
    )
]  # fmt: skip
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = 0x5EFE


def is_public(address: str) -> bool:
    """Whether an address belongs to the world rather than to somebody's own network."""
    match ip_address(address.partition("%")[0]):
        case IPv4Address() as ip:
            return not any(ip in network for network in _SPECIAL_V4)
        case IPv6Address() as ip if ip in _NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFF_FFFF)))
        case ip:
            # the u bit (RFC 5214) tells only whether the IPv4 address in it is said to be unique
            isatap = (int(ip) >> 32) & 0xFDFF_FFFF == _ISATAP
            return ip in _GLOBAL_V6 and not isatap and not any(ip in network for network in _SPECIAL_V6)
