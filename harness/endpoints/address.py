"""How an endpoint's address is read, and how gRPC is told to dial it."""

from harness.errors import InputError
from harness_retrieval.addresses import AddressError, parse_address


def dial_target(address: str) -> str:
    """`grpc://host:port`, `host:port` or `unix:/path` as gRPC dials it. Raises InputError."""
    try:
        return parse_address(address).target
    except AddressError as error:
        raise InputError(str(error)) from None
