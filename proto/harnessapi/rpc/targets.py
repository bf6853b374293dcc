"""Targets: the sockets that servers listen on and clients dial, `unix:/path`, `[grpc://]host:port`."""

import ipaddress
import os
import re
import socket
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import grpc

_MAX_SOCKET_PATH_BYTES = 107  # what the kernel takes
_HOST_PORT = re.compile(r"(?:grpc://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})/?")


class TargetError(ValueError):
    """A target that cannot be read, or that cannot be listened on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """`name` is what gRPC is given; `socket_path` is set for Unix sockets alone."""

    name: str
    socket_path: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def host(self) -> str:
        """Without brackets; empty for a Unix socket."""
        return "" if self.socket_path is not None else self.name.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0 for a Unix socket, and where any free port is asked for."""
        return 0 if self.socket_path is not None else int(self.name.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Who listens there is reached from this machine alone: Unix sockets too."""
        address = self._address()
        local = self.socket_path is not None or self.host == "localhost"
        return local or (address is not None and address.is_loopback)

    @property
    def is_this_machine(self) -> bool:
        """Dialled, it is never reached through a proxy: also the address that stands for all."""
        address = self._address()
        return self.is_loopback or (address is not None and address.is_unspecified)

    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


class _Server(Protocol):
    def add_insecure_port(self, address: str) -> int: ...

    def add_secure_port(
        self, address: str, server_credentials: "grpc.ServerCredentials"
    ) -> int: ...


def parse_target(text: str) -> Target:
    """Reads an address as users write it; port 0 asks for any free port. Raises TargetError."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or path.startswith("//"):
            raise TargetError(f"address {text!r} names no socket file; write unix:/path")
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise TargetError(f"address {text!r} is over {_MAX_SOCKET_PATH_BYTES} bytes long")
        return Target(name=f"unix:{path}", socket_path=path)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise TargetError(f"address {text!r} is neither unix:/path nor host:port")
    if int(match[2]) > 65_535:
        raise TargetError(f"address {text!r} has a port over 65535")
    return Target(name=f"{match[1]}:{int(match[2])}")


def bind(
    server: _Server, target: Target, credentials: "grpc.ServerCredentials | None" = None
) -> Target:
    """Makes a gRPC server listen; returns the target with the port that it got.

    `credentials` None: in the clear. The socket file of a server that is gone is removed.

    Raises TargetError.
    """
    if target.socket_path is not None:
        _make_room_for_socket(target, target.socket_path)
    else:
        _check_port_is_free(target)
    try:
        if credentials is None:
            port = server.add_insecure_port(target.name)
        else:
            port = server.add_secure_port(target.name, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise TargetError(f"cannot listen on {target}")
    if target.socket_path is not None:
        return target
    return Target(name=f"{target.name.rpartition(':')[0]}:{port}")


def _check_port_is_free(target: Target) -> None:
    """Binds once by hand: gRPC does not say why it cannot, other than in its log."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise TargetError(f"cannot listen on {target}: {error.strerror}") from error


def _make_room_for_socket(target: Target, path: str) -> None:
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise TargetError(f"cannot listen on {target}: there is no folder {folder!r}")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise TargetError(f"cannot listen on {target}: the file is there and is no socket")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # left behind by a server that was killed
            return
        except OSError as error:
            raise TargetError(f"cannot listen on {target}: {error.strerror}") from error
    raise TargetError(f"cannot listen on {target}: a server is listening there")
