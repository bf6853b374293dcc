"""How a broken server breaks its promise: changes of what the toy hears and says."""

import os
import random
from collections.abc import Callable
from typing import Any

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2 as rpb

from harness.fakes.quirk import Busy, Events


def changed(
    kind: str, change: Callable[[Any, pb.GenerateRequest], None]
) -> Callable[[pb.GenerateResponse, pb.GenerateRequest], Events]:
    """Changes every event of a kind in place."""

    def say(event: pb.GenerateResponse, request: pb.GenerateRequest) -> Events:
        if event.WhichOneof("event") == kind:
            change(getattr(event, kind), request)
        return (event,)

    return say


def setting(name: str, value: Any) -> Callable[..., None]:
    """One field, to one value."""
    return lambda message, *_: setattr(message, name, value)


def any_word(*_: Any) -> int:
    """Drawn anew each time."""
    return random.randrange(100, 200)


def not_greedy(token: int, request: pb.GenerateRequest, _server: Busy) -> int:
    """Drawn anew where it is to be the likeliest."""
    return token if request.sampling.temperature else any_word()


def one_in_a_crowd(token: int, _request: pb.GenerateRequest, server: Busy) -> int:
    """Another token where three run at once."""
    return token if server.num_running < 3 else 100


def after_refusals(token: int, _request: pb.GenerateRequest, server: Busy) -> int:
    """Another token once some requests were refused."""
    return token if server.num_refused < 3 else 100


def drawn_anew(token: int, request: pb.GenerateRequest, _server: Busy) -> int:
    """Whatever the seed."""
    return any_word() if request.sampling.temperature else token


def no_default(started: pb.Started, request: pb.GenerateRequest) -> None:
    """Leaves the sampling options out where none were asked for."""
    if not request.HasField("sampling"):
        started.ClearField("sampling")


def forgotten_seed(started: pb.Started, request: pb.GenerateRequest) -> None:
    """0 in its place."""
    if request.sampling.seed:
        started.sampling.seed = 0


def uncut(started: pb.Started, request: pb.GenerateRequest) -> None:
    """The limit as it was asked for."""
    if request.stopping.HasField("max_new_tokens"):
        started.stopping.max_new_tokens = request.stopping.max_new_tokens


def prefixed(request: pb.GenerateRequest) -> None:
    """A token before those of a prompt of ids."""
    if request.token_ids.ids:
        request.token_ids.ids.insert(0, 1)


def one_more(request: pb.GenerateRequest) -> None:
    """A token more than the limit."""
    if 0 < request.stopping.max_new_tokens < 1000:
        request.stopping.max_new_tokens += 1


def tokenized_with(kind: str) -> Callable[[pb.TokenizeRequest, pb.TokenizeResponse], None]:
    """A token more for a text, or for messages."""

    def change(request: pb.TokenizeRequest, answer: pb.TokenizeResponse) -> None:
        if request.HasField("messages") == (kind == "messages"):
            answer.token_ids.append(1)
            answer.tokens.append("<bos>")

    return change


def no_channel(delta: pb.Delta, _request: pb.GenerateRequest) -> None:
    """Of the answer it says no channel."""
    if delta.channel == pb.CHANNEL_ANSWER:
        delta.ClearField("channel")


def miscounted(finished: pb.Finished, request: pb.GenerateRequest) -> None:
    """A token more than was written, where nothing is searched."""
    finished.num_generated_tokens += not request.HasField("retrieval")


def more_searches(finished: pb.Finished, _request: pb.GenerateRequest) -> None:
    """Than were made, if any was."""
    finished.num_searches += 5 * bool(finished.num_searches)


def unended(event: pb.GenerateResponse, _request: pb.GenerateRequest) -> Events:
    """No Finished."""
    return () if event.WhichOneof("event") == "finished" else (event,)


def ended_twice(event: pb.GenerateResponse, _request: pb.GenerateRequest) -> Events:
    """Finished, and again."""
    return (event, event) if event.WhichOneof("event") == "finished" else (event,)


def endless(event: pb.GenerateResponse, _request: pb.GenerateRequest) -> Events:
    """Finished, for ever."""
    return (event,) if event.WhichOneof("event") != "finished" else (event for _ in iter(int, 1))


def uninserted(event: pb.GenerateResponse, _request: pb.GenerateRequest) -> Events:
    """No Delta of what a search inserts."""
    return () if event.delta.channel == pb.CHANNEL_INSERTED else (event,)


def early(event: pb.GenerateResponse, _request: pb.GenerateRequest) -> Events:
    """Of a refused pattern it says that nothing was found."""
    if event.retrieval_step.outcome == rpb.SEARCH_OUTCOME_INVALID_QUERY:
        event.retrieval_step.outcome = rpb.SEARCH_OUTCOME_NOT_FOUND
    return (event,)


def unlimited(request: pb.GenerateRequest) -> None:
    """A limit of 0 is none."""
    if request.retrieval.HasField("max_searches") and not request.retrieval.max_searches:
        request.retrieval.ClearField("max_searches")


def searched_prompt(request: pb.GenerateRequest) -> None:
    """The prompt is searched, whatever it is told."""
    if request.HasField("retrieval"):
        request.retrieval.ClearField("searched_text")


def uncut_result(request: pb.GenerateRequest) -> None:
    """A result of more than one token, whole."""
    if request.retrieval.max_inserted_tokens == 1:
        request.retrieval.ClearField("max_inserted_tokens")


def positive(delta: pb.Delta, _request: pb.GenerateRequest) -> None:
    """Log-probabilities over 0."""
    for one in delta.log_probs:
        one.log_prob = -one.log_prob + 0.5


def unsorted(delta: pb.Delta, _request: pb.GenerateRequest) -> None:
    """The likeliest last."""
    for one in delta.log_probs:
        one.top.extend(list(one.top)[::-1])
        del one.top[: len(one.top) // 2]


def shifted(answer: pb.ScoreResponse) -> None:
    """Scores that are not those of the completion."""
    for one in answer.tokens:
        one.log_prob -= 1.0


def too_many_slots(model: pb.GetModelResponse) -> None:
    """One more than there are."""
    model.num_slots += 1


def other_digest(model: pb.GetModelResponse) -> None:
    """Another one each time."""
    model.checkpoint_digest = os.urandom(32).hex()


def crash_at(is_so: Callable[[pb.GenerateRequest], bool]) -> Callable[..., Any]:
    """An exception of the servicer is UNKNOWN to its client."""
    return lambda request, _context: grpc.StatusCode.UNKNOWN if is_so(request) else None


def no_deadlines(_request: pb.GenerateRequest, context: Any) -> grpc.StatusCode | None:
    """Fails where there is one."""
    return None if context.time_remaining() is None else grpc.StatusCode.INTERNAL


def no_stop(request: pb.GenerateRequest) -> None:
    """Stop strings are not there, but for those that are refused."""
    if "" not in request.stopping.stop:
        request.stopping.ClearField("stop")
