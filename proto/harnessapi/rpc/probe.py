"""Asks a server of ours whether it is healthy, as every client of it does."""

from contextlib import closing

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.targets import Target

_SERVING = health_pb2.HealthCheckResponse.SERVING


async def why_not_serving(channel: grpc.aio.Channel, *, timeout_s: float) -> str | None:
    """Asks a server whether it is serving; None: it is."""
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=timeout_s
        )
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return _status(answer)


def why_not_healthy(
    target: Target, *, timeout_s: float, dialing: Dialing = IN_THE_CLEAR
) -> str | None:
    """Asks over a connection of its own; None: it is serving. Raises SecurityError."""
    with closing(dialing.channel(target)) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=timeout_s
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return _status(answer)


def _status(answer: health_pb2.HealthCheckResponse) -> str | None:
    if answer.status == _SERVING:
        return None
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
