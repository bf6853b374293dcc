"""Lets in calls that show a token the server knows; of all others nothing is read."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from harnessapi.rpc.tokens import AUTHORIZATION, AcceptedTokens

_NEEDED: Final = "a bearer token that this server knows is needed"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """The same answer to every call without one, also of methods that are not there."""

    def __init__(self, tokens: AcceptedTokens) -> None:
        self._tokens = tokens
        # Whatever the method's own kind is: the request is not read.
        self._refusal: Any = grpc.stream_stream_rpc_method_handler(_refuse)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Before any servicer, health and reflection too, hears of the call."""
        shown = [
            value for key, value in handler_call_details.invocation_metadata if key == AUTHORIZATION
        ]
        if len(shown) == 1 and self._tokens.accepts(shown[0]):
            return await continuation(handler_call_details)
        return self._refusal


async def _refuse(
    _requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, _NEEDED)
