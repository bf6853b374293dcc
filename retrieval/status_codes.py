"""Answers a domain error with its status code, in one place for all calls."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from harness_retrieval.errors import (
    ContextNotFoundError,
    ContextTooLongError,
    InvalidArgumentError,
    RetrievalError,
)

_STATUS_CODES: dict[type[RetrievalError], grpc.StatusCode] = {
    ContextNotFoundError: grpc.StatusCode.NOT_FOUND,
    ContextTooLongError: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
}


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers a domain error with its status code, and with its text as the details."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the unary methods; streams (health, reflection) raise no domain errors."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method: Any = handler.unary_unary

        async def guarded(request: Any, context: Any) -> Any:
            try:
                return await method(request, context)
            except RetrievalError as error:
                return await context.abort(_STATUS_CODES[type(error)], str(error))

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
