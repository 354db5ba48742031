"""What sources may read: hosts, folders and devices that the operator has named. By default nothing."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loddis_server.sources.addresses import CameraAddress, IpAddress, IpNetwork, is_special, unmapped

__all__ = ["HostRule", "RefusedError", "SourceAllowList", "parse_host_rule"]

RULE = re.compile(r"(?:\[(?P<six>[^]]+)\]|(?P<host>[^:\[\]]+)|(?P<bare>[0-9A-Fa-f:.]+(?:/\d+)?))(?::(?P<port>\d+|\*))?")
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
ANY_PORT = 0


class RefusedError(Exception):
    """Something that the allow-list does not have; the message says what, and never a password."""


@dataclass(frozen=True, slots=True)
class HostRule:
    """One entry of the list of hosts.

    Attributes:
        name: Host name in lower case; None if it is a network.
        network: One address, or many; None if it is a name.
        port: That may be connected to; None: the one that the scheme is known for; 0: any.
    """

    name: str | None
    network: IpNetwork | None
    port: int | None

    @property
    def is_explicit(self) -> bool:
        """Whether it can only mean special addresses, so that whoever wrote it wants them."""
        network = self.network
        return network is not None and is_special(network[0]) and is_special(network[-1]) and network.prefixlen >= 8

    def takes_port_of(self, camera: CameraAddress) -> bool:
        """Tell whether it lets a camera's port be connected to."""
        return self.port in (ANY_PORT, camera.port) or (self.port is None and camera.has_default_port)


def parse_host_rule(text: str) -> HostRule:
    """Read an entry: NAME, ADDRESS or NETWORK/BITS, with `:PORT` or `:*` behind it; IPv6 with a port in brackets.

    Raises:
        ValueError: It is none of these.
    """
    match = RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"expected NAME, ADDRESS or NETWORK/BITS, and :PORT or :* if any, got {text!r}")
    host = match["six"] or match["host"] or match["bare"]
    port = None if match["port"] is None else ANY_PORT if match["port"] == "*" else int(match["port"])
    if port is not None and (port > 65535 or (port == 0 and match["port"] != "*")):
        raise ValueError(f"expected a port from 1 to 65535, got {text!r}")
    try:
        return HostRule(None, ipaddress.ip_network(host), port)
    except ValueError as error:
        # What is made of digits and dots is an address with a fault, not a name.
        if match["six"] or re.fullmatch(r"[0-9.:/]+", host) or not NAME.fullmatch(host):
            raise ValueError(f"expected a host name, an address or a network, got {text!r}: {error}") from None
    return HostRule(host.lower(), None, port)


class SourceAllowList(BaseModel):
    """What sources may read. What is not listed is refused, whoever asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = Field(
        default=(),
        description="Cameras: NAME, ADDRESS or NETWORK/BITS, with :PORT, or :* for any port; without, the port that "
        "the scheme is known for. Loopback, link-local and the like only by their own address, never by a name.",
    )
    folders: tuple[Path, ...] = Field(
        default=(),
        description="Folders whose files may be read, with all below; links that lead out are refused.",
    )
    devices: tuple[Path, ...] = Field(default=(), description="V4L2 devices, as /dev/video0.")

    @field_validator("hosts")
    @classmethod
    def _hosts_are_rules(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            parse_host_rule(host)
        return hosts

    @field_validator("folders", "devices")
    @classmethod
    def _paths_are_absolute(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in paths:
            if not path.is_absolute():
                raise ValueError(f"expected an absolute path, got {path}")
        return paths

    @cached_property
    def _rules(self) -> tuple[HostRule, ...]:
        return tuple(parse_host_rule(host) for host in self.hosts)

    def check_name(self, camera: CameraAddress) -> None:
        """Check whether any entry may mean the name of a camera; one that none may mean is not even looked up.

        Args:
            camera: As its URL says; an address needs no looking up, and `check_addresses` says more of it.

        Raises:
            RefusedError: None may.
        """
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(camera.host)
            return
        fitting = (rule for rule in self._rules if rule.takes_port_of(camera))
        if not any(rule.network is not None or rule.name == camera.host for rule in fitting):
            raise RefusedError(f"{camera.host}:{camera.port} is not on the list of allowed hosts")

    def check_addresses(self, camera: CameraAddress, addresses: list[IpAddress]) -> None:
        """Check every address that a camera's name stands for, since any may be connected to.

        Args:
            camera: As its URL says.
            addresses: What the host was resolved to.

        Raises:
            RefusedError: One of them may not be connected to.
        """
        for address in addresses:
            if not any(self._allows(rule, camera, address) for rule in self._rules):
                special = ", which only its own address in the list would allow" if is_special(address) else ""
                through = "" if camera.host == str(address) else f" ({unmapped(address)})"
                raise RefusedError(f"{camera.host}:{camera.port}{through} is not on the list of allowed hosts{special}")

    def open_path(self, path: Path) -> int:
        """Open a file or folder below an allowed folder.

        What is checked is what was opened, so nothing can change in between.

        Returns:
            File descriptor, for reading.

        Raises:
            RefusedError: It is outside, or no regular file or folder.
            OSError: It cannot be opened.
        """
        if not path.is_absolute() or ".." in path.parts:
            raise RefusedError(f"{path} is no absolute path without `..`")
        # A look at the name first: outside the folders not even the existence of a file is told.
        if not self._is_inside(Path(os.path.realpath(path))):
            raise RefusedError(f"{path} is not in an allowed folder")
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not self._is_inside(Path(f"/proc/self/fd/{descriptor}").readlink()):
                raise RefusedError(f"{path} is not in an allowed folder")
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise RefusedError(f"{path} is no regular file or folder")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def check_device(self, device: Path) -> Path:
        """Give the real path of a device.

        Raises:
            RefusedError: It is not listed, or no character device.
            FileNotFoundError: There is none.
        """
        real = Path(os.path.realpath(device))
        if real not in {Path(os.path.realpath(allowed)) for allowed in self.devices}:
            raise RefusedError(f"{device} is not on the list of allowed devices")
        if not stat.S_ISCHR(real.stat().st_mode):
            raise RefusedError(f"{device} is no device")
        return real

    def _is_inside(self, real: Path) -> bool:
        return any(real.is_relative_to(os.path.realpath(folder)) for folder in self.folders)

    @staticmethod
    def _allows(rule: HostRule, camera: CameraAddress, address: IpAddress) -> bool:
        if not rule.takes_port_of(camera):
            return False
        if rule.network is None:
            return rule.name == camera.host and not is_special(address)
        plain = unmapped(address)
        if plain.version != rule.network.version or plain not in rule.network:
            return False
        return rule.is_explicit or not is_special(address)
