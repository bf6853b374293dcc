"""Talks to one model server: one channel, one attempt a call; protobuf ends here."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.description import description_from_wire
from harnessapi.rpc.enums import MODES
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.probe import why_not_serving
from harnessapi.rpc.targets import Target
from harnessapi.values import ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.conversation import conversation
from harness.clients.faults import (
    BROKEN_STREAM,
    AttemptError,
    DeadlineError,
    RefusedError,
    TransientError,
)
from harness.clients.model_client import UNWATCHED, Attempts, Watch, nobody_listens
from harness.clients.transcript import Transcript
from harness.endpoints.external import Api, chosen_api
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.sample import Prompt

_PROBE_TIMEOUT_S: Final = 5.0
# What gRPC says of a message over the other end's limit, which no second attempt makes shorter.
_TOO_LARGE: Final = "larger than max"
# A result that is cut off is not what a prompt promised: the model's context is the limit.
_MAX_INSERTED_TOKENS: Final = 65_536
# What gRPC says of a server, by a part of it, and what to look at.
_NO_GRPC: Final = (
    "what answers there may not speak gRPC: the address of an OpenAI-compatible server begins "
    "with http:// and has a model beside it"
)
_CAUSES: Final = (
    ("Connection refused", "connection refused: nobody listens there"),
    ("No such file or directory", "nobody listens there: there is no such socket"),
    ("Domain name not found", "the name is not known"),
    ("DNS resolution failed", "the name is not known"),
    ("errors resolving", "the name is not known"),
    ("http1.x", _NO_GRPC),
    ("parsing HTTP/2", _NO_GRPC),
    ("Socket closed", _NO_GRPC),
    ("Connection reset", _NO_GRPC),
    ("UNIMPLEMENTED", "it speaks gRPC, but is no model server of this harness"),
    ("NOT_FOUND", "it speaks gRPC, but is no model server of this harness"),
)


class Client:
    """Belongs to the event loop that it was made on."""

    def __init__(
        self, target: Target, api: Api | None = None, request: RequestOptions = DEFAULT_REQUEST
    ) -> None:
        """`api` None: written language is a conversation where the model has a chat template."""
        self.say: Callable[[str], None] = nobody_listens
        self.cause = ""
        self.refused: dict[str, str] = {}
        self.listed: tuple[str, ...] = ()
        self._api = api
        self._request = request
        self._has_chat_template = False
        self._channel = grpc.aio.insecure_channel(target.name, options=channel_options(target))
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def close(self) -> None:
        """Cancels what is running and lets go of the connection."""
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Whether the server is there, and says that its model is warm."""
        said = await why_not_serving(self._channel, timeout_s=_PROBE_TIMEOUT_S) or ""
        self.cause = _explained(said)
        return not self.cause

    async def get_model(self) -> ModelDescription:
        """Raises AttemptError."""
        try:
            message = await self._stub.GetModel(pb.GetModelRequest(), timeout=_PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None
        self._has_chat_template = message.has_chat_template
        return description_from_wire(message)

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """Raises RefusedError where a word is outside the vocabulary, else AttemptError."""
        messages = self._messages(prompt)
        if messages is None:
            asked = pb.TokenizeRequest(text=prompt.text)
        else:
            asked = pb.TokenizeRequest(messages=messages)
        try:
            answer = await self._stub.Tokenize(asked, timeout=min(timeout_s, _PROBE_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None
        return len(answer.token_ids)

    async def complete(
        self,
        request: CompletionRequest,
        *,
        timeout_s: float | None = None,
        watch: Watch = UNWATCHED,
    ) -> Completion:
        """One attempt. Raises AttemptError: Transient, Deadline, Refused, or none of them."""
        transcript = Transcript()
        message = _to_wire(request, self._request, self._messages(request.prompt))
        await watch.sending()
        sent = time.perf_counter()
        try:
            async for event in self._stub.Generate(message, timeout=timeout_s):
                watch.heard()
                transcript.add(event, (time.perf_counter() - sent) * 1e3)
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None
        return transcript.completion((time.perf_counter() - sent) * 1e3)

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """Each begins anew: the server runs the searches, and keeps what it read."""
        yield lambda timeout_s, watch: self.complete(request, timeout_s=timeout_s, watch=watch)

    def _messages(self, prompt: Prompt) -> pb.Conversation | None:
        """None: it is given the text. Raises RefusedError for a system prompt beside a text."""
        api = chosen_api(self._api, has_chat_template=self._has_chat_template)
        system_prompt = self._request.system_prompt
        if prompt.is_language and api.is_chat:
            # The server runs the searches: their results stand inside a reply.
            messages = conversation(prompt, api, system_prompt, results_are_messages=False)
            return pb.Conversation(messages=[pb.Message(**one._asdict()) for one in messages])
        if system_prompt is not None:
            raise RefusedError(
                "NO_CONVERSATION", "system_prompt needs messages; this model is asked with a text"
            )
        return None


def _to_wire(
    request: CompletionRequest, options: RequestOptions, messages: pb.Conversation | None
) -> pb.GenerateRequest:
    prompt = request.prompt
    message = pb.GenerateRequest(
        sampling=pb.SamplingOptions(
            temperature=options.temperature or 0.0,
            top_p=options.top_p,
            seed=options.seed(request.repeat),
        ),
        stopping=pb.StoppingOptions(max_new_tokens=request.max_new_tokens),
    )
    if messages is not None:
        message.messages.CopyFrom(messages)
    else:
        message.text = prompt.text
        # A reply ends by itself, and may speak of problems.
        message.stopping.stop.extend(prompt.stops)
    if request.mode is not None:
        message.retrieval.mode = MODES.number(request.mode)
        # max_new_tokens is the limit that counts: a search takes several of them.
        message.retrieval.max_searches = request.max_new_tokens
        message.retrieval.abbreviations.extend(
            pb.Abbreviation(query=one.query, pattern=one.pattern) for one in request.abbreviations
        )
        if prompt.is_language:
            _word_results(message.retrieval, prompt)
    return message


def _word_results(options: pb.RetrievalOptions, prompt: Prompt) -> None:
    """What the prompt promises of searches: what they look at, and how results are given."""
    options.result_prefix, options.result_suffix = prompt.result_start, prompt.result_end
    options.max_inserted_tokens = _MAX_INSERTED_TOKENS
    if prompt.searched is not None:
        options.searched_text = prompt.searched
    if prompt.failed is not None:
        options.failed_text = prompt.failed


def _explained(cause: str) -> str:
    """What is wrong with a server that is not serving, with what to look at where that is known."""
    hints = (meaning for sign, meaning in _CAUSES if sign in cause)
    hint = next(hints, None)
    return cause if hint is None else f"{hint} ({cause})"


def _attempt_error(error: grpc.aio.AioRpcError) -> AttemptError:
    code, detail = error.code(), error.details() or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in detail:
        return RefusedError(code.name, detail)
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
        return TransientError(code.name, detail)
    # We cancel by cancelling the task, which never gets here: the server hung up midway.
    if code is grpc.StatusCode.CANCELLED:
        return TransientError(BROKEN_STREAM, detail)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(code.name, detail)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return RefusedError(code.name, detail, is_of_one=True)
    return AttemptError(code.name, detail)
