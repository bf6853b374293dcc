"""Model servers that break one promise of the API each, by name: a fake for each.

    python -m harness.fakes.broken_servers --defect ignores-stop --listen 127.0.0.1:50051
    python -m harness.fakes.broken_servers --list

Without --defect it breaks none. `harness endpoints check --conformance` names what is broken.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import click
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.programs import refusing
from harnessapi.rpc.options import server_options
from harnessapi.rpc.targets import Target, TargetError, bind, parse_target

from harness.fakes.defects import DEFECTS
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
    """Listens, and says that it is healthy. Raises TargetError."""
    # A limit of -1 is none.
    sizes = (*server_options(0)[:-1], ("grpc.max_receive_message_length", quirk.max_request_bytes))
    garbling = [_Garbling(quirk.unreadable)] if quirk.unreadable else []
    server = grpc.aio.server(options=sizes, interceptors=garbling)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(ToyModel(quirk), server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    told = health_pb2.HealthCheckResponse
    await status.set("", told.SERVING if quirk.is_serving else told.NOT_SERVING)
    bound = bind(server, target)
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


async def _serve(quirk: Quirk, target: Target) -> None:
    async with toy_server(quirk, target) as bound:
        click.echo(f"listening on {bound}", err=True)
        await asyncio.Event().wait()


def _list(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        for name, defect in DEFECTS.items():
            click.echo(f"{name:<22} {defect.promise:<21} {defect.summary}")
        ctx.exit()


@click.command("broken")
@click.option("--defect", type=click.Choice(list(DEFECTS)), metavar="NAME", help="See --list.")
@click.option("--listen", default="127.0.0.1:50051", show_default=True, metavar="ADDRESS")
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list)
def broken_command(defect: str | None, listen: str) -> None:
    """Serves until it is interrupted. --list: name, the promise that it breaks, and how."""
    quirk = DEFECTS[defect].quirk if defect is not None else Quirk()
    with refusing(TargetError):
        asyncio.run(_serve(quirk, parse_target(listen)))


if __name__ == "__main__":
    broken_command()
