"""Which addresses a request that a model asked for may go to.

Owns the rule that keeps such requests out of the networks around us: only addresses of the public
internet pass. Does not resolve names (`activities.tools.outbound_http`).
Source: triggers-and-actions.md §7; the special-purpose address registries (RFC 6890).

Invariants:
    1. What is not known to be public is refused.
    2. An IPv4 address inside of an IPv6 one (mapped, NAT64, 6to4, Teredo) never passes: whatever
       translates it may stand inside of our network.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

DEFAULT_PORTS: Final = (80, 443, 8080, 8443)

_PUBLIC_V6: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = (
    IPv6Network("2001::/23"),  # protocol assignments, with Teredo and ORCHID
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)
# `is_global` leaves these in: some carry metadata of clouds, some lead to whoever announces them.
_SPECIAL_V4: Final = (
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("168.63.129.16/32"),  # the host of a virtual machine, at one cloud
)


_ALLOWED_HOST: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:.]+)\]|(?P<name>[^\s/@:*\[\]]+))(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<bare>[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*)"
)


@dataclass(frozen=True, slots=True)
class AllowedHost:
    """A host that the operator lets requests go to, wherever its name leads; null: usual ports."""

    host: str
    port: int | None = None


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet.

    Args:
        address: An IPv4 or IPv6 address as text; a zone (`%eth0`) makes it none.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        special = any(found in network for network in _SPECIAL_V4)
        return found.is_global and not found.is_multicast and not found.is_reserved and not special
    return _is_public_v6(found)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _PUBLIC_V6:
        return False
    return not any(address in network for network in _SPECIAL_V6)


def parse_allowed_host(text: str) -> AllowedHost:
    """Read `host`, `host:port`, or `[address]:port`.

    Raises:
        ValueError: It is none of these.
    """
    found = _ALLOWED_HOST.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} must be host, host:port or [address]:port")
    host = (found["bracketed"] or found["bare"] or found["name"]).rstrip(".")
    port = None if found["port"] is None else int(found["port"])
    if not host or (port is not None and not 0 < port < 65_536):
        raise ValueError(f"{text!r} must name a host, and a port from 1 to 65535 if any")
    return AllowedHost(host, port)


def is_allowed(
    host: str,
    port: int,
    allowed: Collection[AllowedHost],
    ports: Collection[int] = DEFAULT_PORTS,
) -> bool:
    """Whether the operator lets requests go to this host and port, wherever the name leads.

    Args:
        host: Lower-case, without brackets and without the dot at its end.
        port: Of the request.
        allowed: What the operator allows.
        ports: The usual ones.
    """
    return any(
        item.host == host and (port in ports if item.port is None else port == item.port)
        for item in allowed
    )
