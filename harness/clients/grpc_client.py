"""Talks to one model server: one channel, one attempt a call; protobuf ends here."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.observing.traces import calling
from harnessapi.rpc.calls import REQUEST_ID, new_request_id
from harnessapi.rpc.description import description_from_wire
from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.enums import MODES
from harnessapi.rpc.probe import why_not_serving
from harnessapi.rpc.targets import Target
from harnessapi.values import ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.conversation import conversation
from harness.clients.faults import AttemptError, RefusedError
from harness.clients.grpc_errors import NOT_LET_IN, attempt_error, explained
from harness.clients.log_probs import LikelyCompletion, Score, read_score, score_request
from harness.clients.model_client import Attempts, ModelClient, Watch
from harness.clients.transcript import Transcript
from harness.endpoints.external import Api, chosen_api
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.sample import Prompt

_PROBE_TIMEOUT_S: Final = 5.0
# A result that is cut off is not what a prompt promised: the model's context is the limit.
_MAX_INSERTED_TOKENS: Final = 65_536
# Where a request does not say.
_INSERTED_TOKENS_BY_DEFAULT: Final = 64
OTHER_SERVICE: Final = "it speaks gRPC, but is no model server of this harness"


class Client(ModelClient):
    """Belongs to the event loop that it was made on."""

    is_searched_by_server: ClassVar[bool] = True

    def __init__(
        self,
        target: Target,
        api: Api | None = None,
        request: RequestOptions = DEFAULT_REQUEST,
        dialing: Dialing = IN_THE_CLEAR,
    ) -> None:
        """`api` None: written language is a conversation where the model has a chat template.

        Raises SecurityError for what it cannot be dialled with.
        """
        super().__init__()
        self.target = target
        self._api = api
        self._request = request
        self._has_chat_template = False
        self._channel = dialing.aio_channel(target)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def close(self) -> None:
        """Cancels what is running and lets go of the connection."""
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Whether the server is there, and says that its model is warm."""
        said = await why_not_serving(self._channel, timeout_s=_PROBE_TIMEOUT_S) or ""
        self.cause = explained(said, OTHER_SERVICE)
        self.is_turned_away = said.startswith(NOT_LET_IN)
        return not self.cause

    async def get_model(self) -> ModelDescription:
        """Raises AttemptError."""
        try:
            message = await self._stub.GetModel(pb.GetModelRequest(), timeout=_PROBE_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise attempt_error(error) from None
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
            raise attempt_error(error) from None
        return len(answer.token_ids)

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """Each begins anew: the server runs the searches, and keeps what it read."""
        yield lambda timeout_s, watch: self._attempt(request, timeout_s, watch)

    async def _attempt(
        self, request: CompletionRequest, timeout_s: float | None, watch: Watch
    ) -> Completion:
        message = _to_wire(request, self._request, self._messages(request.prompt))
        await watch.sending()
        request_id = new_request_id()
        transcript = Transcript(
            has_log_probs=request.top_log_probs is not None, request_id=request_id
        )
        sent = time.perf_counter()
        try:
            with calling("harness", "attempt", {"request_id": request_id}) as traced:
                metadata = ((REQUEST_ID, request_id), *traced)
                call = self._stub.Generate(message, timeout=timeout_s, metadata=metadata)
                async for event in call:
                    watch.heard()
                    transcript.add(event, (time.perf_counter() - sent) * 1e3)
            return transcript.completion((time.perf_counter() - sent) * 1e3)
        except grpc.aio.AioRpcError as error:
            fault = attempt_error(error)
        except AttemptError as error:
            fault = error
        fault.request_id = request_id
        raise fault from None

    async def complete_with_log_probs(
        self, request: CompletionRequest, *, top_log_probs: int, timeout_s: float | None = None
    ) -> LikelyCompletion:
        """The same, with how likely each token was, and the so many likeliest of its place."""
        asked = replace(request, top_log_probs=top_log_probs)
        completion = await self.complete(asked, timeout_s=timeout_s)
        return LikelyCompletion(completion=completion, log_probs=completion.log_probs or ())

    async def score(
        self,
        prompt: str | Sequence[int] | None,
        continuation: str | Sequence[int],
        *,
        top_log_probs: int = 0,
        timeout_s: float | None = None,
    ) -> Score:
        """How likely a continuation is after a prompt, or from the first token on (None).

        Texts, or token ids that are read as they are. One attempt. Raises AttemptError.
        """
        message = score_request(prompt, continuation, top_log_probs)
        try:
            return read_score(await self._stub.Score(message, timeout=timeout_s))
        except grpc.aio.AioRpcError as error:
            raise attempt_error(error) from None

    async def stream(
        self, message: pb.GenerateRequest, *, timeout_s: float
    ) -> AsyncGenerator[pb.GenerateResponse]:
        """One completion as it comes, for whoever speaks the wire; closing it hangs up.

        Raises AttemptError.
        """
        call = self._stub.Generate(message, timeout=timeout_s)
        try:
            async for event in call:
                yield event
        except grpc.aio.AioRpcError as error:
            raise attempt_error(error) from None
        finally:
            call.cancel()

    def _messages(self, prompt: Prompt) -> pb.Conversation | None:
        """None: it is given the text. Raises RefusedError for a system prompt beside a text."""
        api = chosen_api(self._api, has_chat_template=self._has_chat_template)
        system_prompt = self._request.system_prompt
        messages = _conversation(prompt, api, system_prompt)
        if messages is None and system_prompt is not None:
            raise RefusedError(
                "NO_CONVERSATION", "system_prompt needs messages; this model is asked with a text"
            )
        return messages


def max_inserted_tokens(prompt: Prompt) -> int:
    """What a search may insert into a completion of it."""
    return _MAX_INSERTED_TOKENS if prompt.is_language else _INSERTED_TOKENS_BY_DEFAULT


def plain_request(request: CompletionRequest, *, is_chat: bool) -> pb.GenerateRequest:
    """As an eval sends it without request options; `is_chat`: in a conversation."""
    api = Api.TURNS if is_chat else Api.COMPLETIONS
    return _to_wire(request, DEFAULT_REQUEST, _conversation(request.prompt, api, None))


def _conversation(prompt: Prompt, api: Api, system_prompt: str | None) -> pb.Conversation | None:
    """None: it is given the text."""
    if not (prompt.is_language and api.is_chat):
        return None
    # The server runs the searches: their results stand inside a reply.
    messages = conversation(prompt, api, system_prompt, results_are_messages=False)
    return pb.Conversation(messages=[pb.Message(**one._asdict()) for one in messages])


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
        top_log_probs=request.top_log_probs,
    )
    if messages is not None:
        message.messages.CopyFrom(messages)
    else:
        message.text = prompt.text
        # A reply ends by itself, and may speak of problems.
        message.stopping.stop.extend(prompt.stops)
    if request.mode is not None:
        message.retrieval.mode = MODES.number(request.mode)
        message.retrieval.max_searches = request.most_searches
        message.retrieval.abbreviations.extend(
            pb.Abbreviation(query=one.query, pattern=one.pattern) for one in request.abbreviations
        )
        if prompt.searched is not None:
            message.retrieval.searched_text = prompt.searched
        if prompt.is_language:
            _word_results(message.retrieval, prompt)
    return message


def _word_results(options: pb.RetrievalOptions, prompt: Prompt) -> None:
    """What the prompt promises of searches: how results are given."""
    options.result_prefix, options.result_suffix = prompt.result_start, prompt.result_end
    options.max_inserted_tokens = max_inserted_tokens(prompt)
    if prompt.failed is not None:
        options.failed_text = prompt.failed
