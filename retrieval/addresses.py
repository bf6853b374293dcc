"""Addresses that servers listen on and clients connect to: `unix:/path`, `[grpc://]host:port`."""

import os
import re
import socket
import stat
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

_MAX_SOCKET_PATH_BYTES = 107  # what the kernel takes
_HOST_PORT = re.compile(r"(?:grpc://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})/?")


class AddressError(ValueError):
    """An address that cannot be read, or that cannot be listened on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """`target` is what gRPC is given; `socket_path` is set for Unix sockets alone."""

    target: str
    socket_path: str | None = None

    def __str__(self) -> str:
        return self.target


class _Server(Protocol):
    def add_insecure_port(self, address: str) -> int: ...


def parse_address(address: str) -> Address:
    """Reads an address; port 0 asks for any free port. Raises AddressError."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path or path.startswith("//"):
            raise AddressError(f"address {address!r} names no socket file; write unix:/path")
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise AddressError(f"address {address!r} is over {_MAX_SOCKET_PATH_BYTES} bytes long")
        return Address(target=f"unix:{path}", socket_path=path)
    match = _HOST_PORT.fullmatch(address)
    if match is None:
        raise AddressError(f"address {address!r} is neither unix:/path nor host:port")
    if int(match[2]) > 65_535:
        raise AddressError(f"address {address!r} has a port over 65535")
    return Address(target=f"{match[1]}:{int(match[2])}")


def bind(server: _Server, address: Address) -> Address:
    """Makes a gRPC server listen; returns the address with the port that it got.

    The socket file of a server that is gone is removed. The server needs the option
    `grpc.so_reuseport` 0, or two servers share a port. Raises AddressError.
    """
    if address.socket_path is not None:
        _make_room_for_socket(address)
    else:
        _check_port_is_free(address)
    try:
        port = server.add_insecure_port(address.target)
    except RuntimeError:
        port = 0
    if port == 0:
        raise AddressError(f"cannot listen on {address}")
    if address.socket_path is not None:
        return address
    return Address(target=f"{address.target.rpartition(':')[0]}:{port}")


def _check_port_is_free(address: Address) -> None:
    """Binds once by hand: gRPC does not say why it cannot, other than in its log."""
    host, _, port = address.target.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise AddressError(f"cannot listen on {address}: {error.strerror}") from error


def _make_room_for_socket(address: Address) -> None:
    path = address.socket_path or ""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise AddressError(f"cannot listen on {address}: there is no folder {folder!r}")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"cannot listen on {address}: the file is there and is no socket")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # left behind by a server that was killed
            return
        except OSError as error:
            raise AddressError(f"cannot listen on {address}: {error.strerror}") from error
    raise AddressError(f"cannot listen on {address}: a server is listening there")
