"""A model server without a model, for tests: it reads the answer off the prompt."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.rpc.description import description_to_wire
from harnessapi.rpc.targets import parse_target
from harnessapi.values import Markers, Mode, ModelDescription, TrainedBy, TrainedOn

from harness.fakes.fake_grpc import start_server
from harness.fakes.made_up_log_probs import give_log_probs, made_up
from harness.tasks import natural, symbolic
from harness.tasks.vocabulary import FAILED
from harness_retrieval.abbreviations import Abbreviation, expand

_PROBLEM: Final = "[Problem"
# What may stand behind the question.
_FILLERS: Final = (natural.FILLER, symbolic.FILLER)


class Fault(StrEnum):
    """What can go wrong with one call."""

    UNAVAILABLE = "unavailable"
    EXHAUSTED = "exhausted"
    INTERNAL = "internal"
    REFUSED = "refused"
    BROKEN = "broken"
    HANG = "hang"
    # Counts more tokens than can be stored.
    HUGE_COUNT = "huge_count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """How the fake behaves. Every n-th means: of its Generate calls, counted from 1."""

    delay_s: float = 0.0
    # A wrong answer to every n-th prompt; by the prompt, so that a repeated call answers the same.
    wrong_share: float = 0.0
    has_channel: bool = True
    # Whether it searches another text than the prompt, and says so; an older server does neither.
    takes_searched_text: bool = True
    # From this call on none is answered.
    hang_from_call: int = 0
    # The process kills itself at this call; once, then the folder remembers, or every time.
    die_at_call: int = 0
    dies_again: bool = False
    # Exits with this status before it listens.
    refuse_with_status: int = 0
    # Starts, and never listens.
    never_listens: bool = False
    version: int = 1
    state_bits: int = 0
    cache_policy: str = ""
    max_prompt_tokens: int = 10_000
    trained_tasks: tuple[str, ...] = ()
    # (task, way, contexts).
    trained_on: tuple[tuple[str, str, int], ...] = ()
    # (recipe, model, seed).
    trained_by: tuple[str, str, int] | None = None
    config_json: str = ""
    # A language model says natural here; with a chat template it may be asked with messages.
    styles: tuple[str, ...] = ("symbolic",)
    has_chat_template: bool = False
    # None: no log-probabilities, no scores.
    max_top_log_probs: int | None = None
    decoding: str = ""
    # Inserted in the place of what a search finds, with the claim that it was found.
    lie: str = ""
    # Of its tokenizer: outside its vocabulary, and one token however often they follow each other.
    unknown_words: tuple[str, ...] = ()
    merged_words: tuple[str, ...] = ()


def _prompt_text(request: pb.GenerateRequest | pb.TokenizeRequest) -> str:
    """The prompt as it is worded: a message has a turn's mark around it."""
    if not request.HasField("messages"):
        return request.text
    return " ".join(f"{one.role}: {one.content}" for one in request.messages.messages)


def no_fault(_call: int) -> Fault | None:
    """All is well."""
    return None


class FakeModel(inference_pb2_grpc.InferenceServiceServicer):
    """`faults` is asked once a Generate call, with the number of the call, from 1."""

    def __init__(self, script: Script, faults: Callable[[int], Fault | None] = no_fault) -> None:
        self.script = script
        self.faults = faults
        self.num_calls = 0
        self.num_running = 0
        self.max_running = 0
        self.on_call: Callable[[int], None] = lambda _call: None
        # Calls are answered while it is set.
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def GetModel(  # noqa: N802
        self,
        request: pb.GetModelRequest,  # noqa: ARG002
        context: Any,  # noqa: ARG002
    ) -> pb.GetModelResponse:
        """A small RNN, it says."""
        return description_to_wire(
            ModelDescription(
                name="fake",
                family="RNN",
                engine="fake",
                engine_version="1",
                checkpoint_digest=hashlib.sha256(str(self.script.version).encode()).hexdigest(),
                tokenizer_digest="0" * 64,
                num_parameters=1234,
                state_bytes=512,
                state_bits=self.script.state_bits,
                cache_policy=self.script.cache_policy,
                dtype="float32",
                device="cpu",
                num_slots=64,
                max_prompt_tokens=self.script.max_prompt_tokens,
                markers=Markers() if self.script.has_channel else None,
                modes=tuple(Mode) if self.script.has_channel else (),
                takes_searched_text=self.script.has_channel and self.script.takes_searched_text,
                styles=tuple(self.script.styles),
                has_chat_template=self.script.has_chat_template,
                trained_tasks=tuple(self.script.trained_tasks),
                trained_on=tuple(
                    TrainedOn(task=task, way=way, contexts=contexts)
                    for task, way, contexts in self.script.trained_on
                ),
                trained_by=self._trained_by(),
                config_json=self.script.config_json,
                max_top_log_probs=self.script.max_top_log_probs,
                decoding=self.script.decoding,
            )
        )

    def _trained_by(self) -> TrainedBy | None:
        if self.script.trained_by is None:
            return None
        recipe, model, seed = self.script.trained_by
        return TrainedBy(recipe=recipe, model=model, seed=seed)

    async def Tokenize(  # noqa: N802
        self, request: pb.TokenizeRequest, context: Any
    ) -> pb.TokenizeResponse:
        """One token a word; one with a capital letter is outside a vocabulary of symbols."""
        words = _prompt_text(request).split()
        for word in words:
            is_unknown = word != word.lower() and "natural" not in self.script.styles
            if is_unknown or word in self.script.unknown_words:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unknown word '{word}'")
        merged = self.script.merged_words
        pairs = zip(words, [*words[1:], ""], strict=True)
        words = [word for word, after in pairs if word != after or word not in merged]
        return pb.TokenizeResponse(token_ids=range(len(words)), tokens=words)

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: Any
    ) -> pb.ScoreResponse:
        """A token a word, or an id; what stands first without a prompt has no log-probability."""
        if self.script.max_top_log_probs is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Score")
        words = request.continuation_text.split()
        words = words or [f"w{one}" for one in request.continuation_ids.ids]
        tokens = made_up(words, request.top_log_probs)
        if request.WhichOneof("prompt") is None:
            tokens[0].ClearField("log_prob")
            tokens[0].ClearField("top")
        return pb.ScoreResponse(tokens=tokens)

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        """The right answer, or the fault that the script asks for."""
        self.num_calls += 1
        call = self.num_calls
        self.num_running += 1
        self.max_running = max(self.max_running, self.num_running)
        try:
            self.on_call(call)
            fault = self.faults(call)
            await _abort(fault, context)
            if fault is Fault.HANG or 0 < self.script.hang_from_call <= call:
                await asyncio.Event().wait()
            await asyncio.sleep(self.script.delay_s)
            await self.may_answer.wait()
            is_wrong = self._is_wrong(_prompt_text(request))
            events = _events(request, wrong=is_wrong, lie=self.script.lie)
            if request.HasField("top_log_probs"):
                give_log_probs(events, request.top_log_probs)
            if fault is Fault.HUGE_COUNT:
                events[-1].finished.num_generated_tokens = 2**64 - 1
            for event in events[:-1] if fault is Fault.BROKEN else events:
                yield event
        finally:
            self.num_running -= 1

    def _is_wrong(self, prompt: str) -> bool:
        digest = hashlib.sha256(prompt.encode()).digest()
        return digest[0] < self.script.wrong_share * 256


async def _abort(fault: Fault | None, context: Any) -> None:
    codes = {
        Fault.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        Fault.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
        Fault.INTERNAL: grpc.StatusCode.INTERNAL,
        Fault.REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    }
    if fault in codes:
        await context.abort(codes[fault], f"the script says {fault}")


def _events(
    request: pb.GenerateRequest, *, wrong: bool, lie: str = ""
) -> list[pb.GenerateResponse]:
    """The whole stream: an empty first chunk, a search where it is asked for, the answer."""
    text = _prompt_text(request)
    words = text.split()
    is_natural = _PROBLEM in text
    options = request.retrieval
    # Of worked problems the last one is asked; in symbols there is nothing else.
    read = text.rpartition(_PROBLEM)[2]
    passages = [
        passage.split()
        for passage in (options.searched_text or read).split(" ;")
        if options.max_searches or not options.HasField("max_searches")
    ]
    pairs = {passage[-2]: passage[-1] for passage in passages if len(passage) >= 2}
    key = next(word for word in reversed(words) if word not in _FILLERS)
    value = "wrong" if wrong else pairs.get(key, "missing")
    started = pb.Started(
        num_prompt_tokens=len(words),
        prompt_token_ids=range(len(words)),
        queue_ns=1000,
        stopping=request.stopping,
    )
    events = [
        pb.GenerateResponse(started=started),
        pb.GenerateResponse(delta=pb.Delta(channel=pb.CHANNEL_REASONING)),
    ]
    num_searches = 0
    if request.HasField("retrieval"):
        num_searches = 1
        events += _search(request, key, lie or f"{key} {pairs.get(key, '')}" if pairs else "")
    answer = f"\nAnswer: {value}" if is_natural else f" <answer> {value}"
    events.append(_delta(pb.CHANNEL_ANSWER, answer, 3))
    num_generated = 3 + 3 * num_searches
    # Not set: the default of the wire.
    limit = request.stopping.max_new_tokens or 256
    truncated = num_generated > limit
    finished = pb.Finished(
        reason=pb.FINISH_REASON_LENGTH if truncated else pb.FINISH_REASON_EOS,
        num_prompt_tokens=len(words),
        num_generated_tokens=min(num_generated, limit),
        num_inserted_tokens=2 * num_searches,
        num_searches=num_searches,
    )
    return [*events, pb.GenerateResponse(finished=finished)]


def _search(request: pb.GenerateRequest, key: str, result: str) -> list[pb.GenerateResponse]:
    """No result: no search may be made any more."""
    outcome = (
        retrieval_pb2.SEARCH_OUTCOME_FOUND if result else retrieval_pb2.SEARCH_OUTCOME_LIMIT_REACHED
    )
    result = result or request.retrieval.failed_text or FAILED
    abbreviations = [
        Abbreviation(query=one.query, pattern=one.pattern)
        for one in request.retrieval.abbreviations
    ]
    step = pb.RetrievalStep(
        query=key,
        expanded_query=expand(abbreviations, key),
        mode=request.retrieval.mode,
        outcome=outcome,
        inserted_text=result,
        num_inserted_tokens=2,
        elapsed_ns=2_000_000,
    )
    return [
        _delta(pb.CHANNEL_QUERY, f"<search> {key} </search>", 3),
        pb.GenerateResponse(retrieval_step=step),
        _delta(pb.CHANNEL_INSERTED, f" {result}", 2),
    ]


def _delta(channel: pb.Channel.ValueType, text: str, num_tokens: int) -> pb.GenerateResponse:
    delta = pb.Delta(channel=channel, text=text, token_ids=range(num_tokens), num_tokens=num_tokens)
    return pb.GenerateResponse(delta=delta)


async def start_fake(model: FakeModel, address: str) -> grpc.aio.Server:
    """A server that listens, and is healthy. Stop it with `await server.stop(None)`.

    Raises TargetError.
    """
    server, _ = await start_server(model, parse_target(address))
    return server
