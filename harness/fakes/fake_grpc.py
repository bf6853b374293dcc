"""Starts the gRPC server of a fake: its servicer, and the health that whoever waits for it asks."""

from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.options import MAX_MESSAGE_BYTES, server_options
from harnessapi.rpc.targets import Target, bind


async def start_server(
    servicer: inference_pb2_grpc.InferenceServiceServicer,
    target: Target,
    *,
    is_serving: bool = True,
    max_request_bytes: int = MAX_MESSAGE_BYTES,
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
) -> tuple[grpc.aio.Server, Target]:
    """A server that listens, and the target with the port that it got. Raises TargetError.

    `max_request_bytes`: -1 is no limit. Stop it with `await server.stop(None)`.
    """
    server = grpc.aio.server(options=server_options(max_request_bytes), interceptors=interceptors)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    told = health_pb2.HealthCheckResponse
    await status.set("", told.SERVING if is_serving else told.NOT_SERVING)
    bound = bind(server, target)
    await server.start()
    return server, bound
