"""Addresses of cameras: taken apart, and told from those that lead back into the machine or its hosting."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

__all__ = ["DEFAULT_PORTS", "CameraAddress", "IpAddress", "IpNetwork", "is_special", "parse_camera_url", "unmapped"]

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
VISIBLE = re.compile(r"[!-~]+")

# Beside what `ipaddress` knows as loopback, link-local, multicast, reserved and unspecified: addresses that carry an
# IPv4 address inside, and where clouds keep the credentials of their machines.
SPECIAL_NETWORKS: tuple[IpNetwork, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.192/32",
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
        "fd00:ec2::254/128",
        "fec0::/10",
    )
)


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """A camera's URL in its parts.

    Attributes:
        scheme: `rtsp`, `rtsps`, `http` or `https`.
        host: Name or address, lower case, no brackets.
        port: As given, or the scheme's own.
        shown: The URL without user, password and query, for status, logs and errors.
        url: The whole, with everything the camera asks for.
    """

    scheme: str
    host: str
    port: int
    shown: str
    url: str

    @property
    def has_default_port(self) -> bool:
        """Whether the port is the one that the scheme is known for."""
        return self.port == DEFAULT_PORTS[self.scheme]


def parse_camera_url(url: str) -> CameraAddress:
    """Take a URL apart.

    Raises:
        ValueError: It is none, or of another scheme. The message does not repeat it: it may hold a password.
    """
    if not VISIBLE.fullmatch(url):
        raise ValueError("a camera's URL must be visible ASCII without spaces; write others as %XX")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a camera's URL must be SCHEME://HOST[:PORT]/PATH, got something else") from None
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError(f"a camera's URL must begin with one of {', '.join(f'{name}://' for name in DEFAULT_PORTS)}")
    if not host or not HOST.fullmatch(host) or port == 0:
        raise ValueError("a camera's URL must name a host, and a port from 1 to 65535 if any")
    port = DEFAULT_PORTS[scheme] if port is None else port
    user, at, _ = parts.netloc.rpartition("@")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port != DEFAULT_PORTS[scheme] else "")
    return CameraAddress(
        scheme=scheme,
        host=host.rstrip(".").lower(),
        port=port,
        shown=urlunsplit((scheme, place, parts.path, "", "")),
        url=urlunsplit((scheme, f"{user}{at}{place}", parts.path, parts.query, "")),
    )


def unmapped(address: IpAddress) -> IpAddress:
    """Give the IPv4 address of an IPv4-mapped IPv6 address, others as they are."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def is_special(address: IpAddress) -> bool:
    """Tell whether an address is none of a camera's: this machine, its link, its hosting, everyone, or nobody."""
    plain = unmapped(address)
    return (
        plain.is_loopback
        or plain.is_link_local
        or plain.is_multicast
        or plain.is_unspecified
        or plain.is_reserved
        or any(plain.version == network.version and plain in network for network in SPECIAL_NETWORKS)
    )
