"""The addresses of one endpoint: what a table may name, and what a name stands for by DNS."""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harnessapi.rpc.targets import parse_target

from harness.endpoints.external import check_address, is_web_address
from harness.errors import InputError, UnreachableError

# The numbers that a host has by its name, for a port.
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One process that is asked. `address` names it in records."""

    address: str
    # As the file has it: what a server is called, whatever number is dialled.
    named: str
    # What is dialled in the place of its host; None: the name itself.
    number: str | None = None


def read_addresses(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Those of a table: a string, or a list of them. Raises InputError naming what is wrong."""
    if "address" not in table:
        return ()
    value = table["address"]
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(one, str) and one for one in listed):
        raise InputError(f"address = {value!r}: it has to be a string, or a list of strings")
    for one in listed:
        if listed.count(one) > 1:
            raise InputError(f"address: {one!r} stands there twice")
    if len({is_web_address(one) for one in listed}) > 1:
        raise InputError(
            "address: some begin with http:// or https:// and some do not: all have to be asked "
            "in one way"
        )
    return tuple(listed)


def check_addresses(addresses: Sequence[str], *, resolve: bool) -> None:
    """Raises InputError, and TargetError for what gRPC cannot dial."""
    if resolve and not addresses:
        raise InputError("resolve is for an address: a checkpoint is served here")
    for one in addresses:
        if is_web_address(one):
            check_address(one)
        elif parse_target(one).socket_path is not None and resolve:
            raise InputError(f"resolve: address {one!r} names no host")


async def look_up(host: str, port: int) -> Sequence[str]:
    """As the system does. Raises OSError."""
    # Here and not at the top: names of endpoints are completed without it.
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


async def resolved(addresses: Sequence[str], lookup: Lookup = look_up) -> list[Place]:
    """A place for each number that each address has, in their order, none twice.

    Raises UnreachableError where one's name is not known.
    """
    places: dict[str, Place] = {}
    for named in addresses:
        host, port = _host_and_port(named)
        try:
            numbers = await lookup(host, port)
        except OSError as error:
            raise UnreachableError(f"address {named!r}: {error.strerror or error}") from None
        for number in numbers:
            address = _at(named, number, port)
            places.setdefault(address, Place(address=address, named=named, number=number))
    return list(places.values())


def _host_and_port(address: str) -> tuple[str, int]:
    if not is_web_address(address):
        target = parse_target(address)
        return target.host, target.port
    parts = urlsplit(address)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _at(address: str, number: str, port: int) -> str:
    """The address with the number in its host's place."""
    host = f"[{number}]" if ipaddress.ip_address(number).version == 6 else number
    if not is_web_address(address):
        return f"{host}:{port}"
    parts = urlsplit(address)
    is_told = parts.port is not None
    return parts._replace(netloc=f"{host}:{port}" if is_told else host).geturl()
