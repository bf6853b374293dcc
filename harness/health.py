"""Asks a server of ours whether it is healthy: `python -m harness.health ADDRESS`.

For containers and scripts: exit status 0 where it answers SERVING, else 1 with the reason. It needs
nothing but what the client needs, so every image has it.
"""

import argparse
import sys
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harness.endpoints.address import dial_target
from harness.errors import InputError, UnreachableError

_TIMEOUT_S: Final = 3.0
# Who is asked is a neighbour; a proxy in the environment is not meant for it.
_OPTIONS: Final = (("grpc.enable_http_proxy", 0),)


def check(address: str, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Returns where the server is SERVING. Raises InputError or UnreachableError."""
    with grpc.insecure_channel(dial_target(address), options=_OPTIONS) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
        except grpc.RpcError as error:
            raise UnreachableError(f"{address}: {error.code().name}: {error.details()}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise UnreachableError(f"{address}: {status}")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="harness.health", description="Is a server healthy?")
    parser.add_argument("address", metavar="ADDRESS", help="host:port or unix:/path")
    try:
        check(parser.parse_args(arguments).address)
    except (InputError, UnreachableError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
