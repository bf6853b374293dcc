"""Searches through a retrieval service over gRPC. Light: imports neither FAISS nor RE2."""

import random
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import grpc
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.targets import parse_target

from harness_retrieval.contexts.sent_texts import SentTexts
from harness_retrieval.limits import refuse
from harness_retrieval.types import RetrieverUnavailableError, SearchRequest, SearchResult
from harness_retrieval.wire import query_to_wire, result_from_wire

_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 1.0
_CLOSE_TIMEOUT_S = 5.0
_Response = TypeVar("_Response")


class RemoteRetriever:
    """A Retriever over one channel. `deadline_s` holds for a whole call of `search`, retries too.

    Raises TargetError for an address that cannot be read, SecurityError for what it is to be
    dialled with; connects when first used.
    """

    max_requests = 16

    def __init__(
        self,
        address: str,
        *,
        dialing: Dialing = IN_THE_CLEAR,
        deadline_s: float = 30.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = parse_target(address)
        self._deadline_s = deadline_s
        self._now_s = now_s
        self._channel = dialing.channel(self._target)
        self._stub = pb_grpc.RetrievalServiceStub(self._channel)
        self._sent = SentTexts()
        self._closing: set[grpc.Future[pb.CloseContextsResponse]] = set()

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answers each request, in order, with one search call for all of them.

        Raises RetrieverUnavailableError.
        """
        end_s = self._now_s() + self._deadline_s
        results = [refuse(request) for request in requests]
        asked = [index for index, result in enumerate(results) if result is None]
        well = [requests[index].well_formed() for index in asked]
        self._open([request for request in well if not self._sent.continues(request)], end_s)
        answers = self._ask(well, end_s)
        lost = [index for index, answer in enumerate(answers) if answer is None]
        if lost:  # expired, or the server was restarted
            again = [well[index] for index in lost]
            self._open(again, end_s)
            for index, answer in zip(lost, self._ask(again, end_s), strict=True):
                answers[index] = answer
        for index, answer in zip(asked, answers, strict=True):
            if answer is None:
                context_id = requests[index].context_id
                raise RetrieverUnavailableError(f"{self._target} keeps losing {context_id!r}")
            results[index] = answer
        return [result for result in results if result is not None]

    def is_costly(self, request: SearchRequest) -> bool:  # noqa: ARG002
        """The service sees to it itself."""
        return False

    def close_contexts(self, context_ids: Sequence[str]) -> None:
        """Forgets contexts; does not wait for the service, where they expire anyway."""
        self._sent.forget(context_ids)
        request = pb.CloseContextsRequest(context_ids=context_ids)
        call = self._stub.CloseContexts.future(request, timeout=_CLOSE_TIMEOUT_S)
        # gRPC cancels a call that nobody holds.
        self._closing.add(call)
        call.add_done_callback(self._closing.discard)

    def shutdown(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _open(self, requests: Sequence[SearchRequest], end_s: float) -> None:
        """Opens contexts, all at once, each with the longest text that is asked about."""
        by_length = sorted(requests, key=lambda request: len(request.text))
        texts = {request.context_id: request.text for request in by_length}
        opens = [pb.OpenContextRequest(context_id=key, text=text) for key, text in texts.items()]

        def open_all(timeout_s: float) -> None:
            calls = [self._stub.OpenContext.future(each, timeout=timeout_s) for each in opens]
            for call in calls:
                call.result()

        if opens:
            self._retrying(open_all, end_s)
            for context_id, text in texts.items():
                self._sent.record(context_id, text)

    def _ask(self, requests: Sequence[SearchRequest], end_s: float) -> list[SearchResult | None]:
        if not requests:
            return []
        queries = [query_to_wire(each, offset=self._sent.advance(each)) for each in requests]
        message = pb.SearchContextsRequest(queries=queries)
        response = self._retrying(
            lambda timeout_s: self._stub.SearchContexts(message, timeout=timeout_s), end_s
        )
        return [result_from_wire(result) for result in response.results]

    def _retrying(self, call: Callable[[float], _Response], end_s: float) -> _Response:
        """Makes a call until it succeeds; only what is UNAVAILABLE is tried again."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                return call(max(end_s - self._now_s(), 0.001))
            except grpc.RpcError as error:
                pause_s = backoff_s * random.uniform(0.5, 1.0)
                is_final = error.code() is not grpc.StatusCode.UNAVAILABLE
                if is_final or pause_s >= end_s - self._now_s():
                    raise RetrieverUnavailableError(self._describe(error)) from error
            except ValueError as error:  # gRPC's way to say that the channel is closed
                raise RetrieverUnavailableError(f"{self._target}: {error}") from error
            time.sleep(pause_s)
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def _describe(self, error: grpc.RpcError) -> str:
        return f"retrieval service at {self._target}: {error.code().name}: {error.details()}"
