"""Model servers that break one promise of the API each, by name: a fake for each.

    python -m harness.fakes.broken_servers --defect ignores-stop --listen 127.0.0.1:50051
    python -m harness.fakes.broken_servers --list

Without --defect it breaks none. `harness endpoints check --conformance` names what is broken.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import click
import grpc
from harnessapi.programs import refusing
from harnessapi.rpc.targets import Target, TargetError, parse_target

from harness.fakes.defects import DEFECTS
from harness.fakes.fake_commands import list_option, tell_listening
from harness.fakes.fake_grpc import start_server
from harness.fakes.quirk import Quirk
from harness.fakes.toy_model import ToyModel


class _Garbling(grpc.aio.ServerInterceptor):
    """Puts bytes in the place of what one method answers."""

    def __init__(self, method: str) -> None:
        self._method = method

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if not handler_call_details.method.endswith(f"/{self._method}"):
            return handler
        return handler._replace(response_serializer=lambda _message: b"\xff\xff\xff")


@contextlib.asynccontextmanager
async def toy_server(quirk: Quirk, target: Target) -> AsyncIterator[Target]:
    """Listens, and is healthy but where the quirk says otherwise. Raises TargetError."""
    server, bound = await start_server(
        ToyModel(quirk),
        target,
        is_serving=quirk.is_serving,
        max_request_bytes=quirk.max_request_bytes,
        interceptors=[_Garbling(quirk.unreadable)] if quirk.unreadable else [],
    )
    try:
        yield bound
    finally:
        await server.stop(None)


async def _serve(quirk: Quirk, target: Target) -> None:
    async with toy_server(quirk, target) as bound:
        tell_listening(bound)
        await asyncio.Event().wait()


_ROWS: Final = {name: (defect.promise, defect.summary) for name, defect in DEFECTS.items()}


@click.command("broken")
@click.option("--defect", type=click.Choice(list(DEFECTS)), metavar="NAME", help="See --list.")
@click.option("--listen", default="127.0.0.1:50051", show_default=True, metavar="ADDRESS")
@list_option(_ROWS)
def broken_command(defect: str | None, listen: str) -> None:
    """Serves until it is interrupted. --list: name, the promise that it breaks, and how."""
    quirk = DEFECTS[defect].quirk if defect is not None else Quirk()
    with refusing(TargetError):
        asyncio.run(_serve(quirk, parse_target(listen)))


if __name__ == "__main__":
    broken_command()
