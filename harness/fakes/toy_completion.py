"""One completion of the toy, event by event."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2 as rpb

from harness.fakes import toy_words as toy
from harness.fakes.quirk import Busy, Events, Quirk

MAX_NEW_TOKENS: Final = 100_000
_DEFAULT_TOKENS: Final = 256


def started(request: pb.GenerateRequest, ids: list[int]) -> pb.GenerateResponse:
    """The first event: the options in force."""
    event = pb.Started(num_prompt_tokens=len(ids), prompt_token_ids=ids)
    event.sampling.CopyFrom(pb.SamplingOptions(temperature=0, top_k=0, top_p=1, seed=0))
    event.sampling.MergeFrom(request.sampling)
    event.stopping.CopyFrom(pb.StoppingOptions(max_new_tokens=256, ignore_eos=False))
    event.stopping.MergeFrom(request.stopping)
    most = min(event.stopping.max_new_tokens, MAX_NEW_TOKENS)
    event.stopping.max_new_tokens = most
    if request.HasField("retrieval"):
        defaults = pb.RetrievalOptions(
            max_searches=1024, max_inserted_tokens=64, top_k=1, result_prefix="", result_suffix=""
        )
        event.retrieval.CopyFrom(defaults)
        event.retrieval.MergeFrom(request.retrieval)
    return pb.GenerateResponse(started=event)


def _delta(channel: pb.Channel.ValueType, ids: list[int], text: str) -> pb.Delta:
    return pb.Delta(channel=channel, text=text, token_ids=ids, num_tokens=len(ids))


def _searched(request: pb.GenerateRequest, prompt_ids: list[int], finished: pb.Finished) -> Events:
    """The query and what it found, counted; a completion that is shorter than it has none."""
    query = toy.query_of(prompt_ids, request.retrieval.mode)
    if request.stopping.HasField("max_new_tokens") and request.stopping.max_new_tokens < len(query):
        return
    text = " ".join(toy.VOCABULARY[one] for one in query[1:-1])
    searched = " ".join(toy.VOCABULARY[one] for one in prompt_ids)
    if request.retrieval.HasField("searched_text"):
        searched = request.retrieval.searched_text
    step = toy.search(text, searched, request.retrieval)
    inserted = toy.encode(step.inserted_text)
    is_made = step.outcome != rpb.SEARCH_OUTCOME_LIMIT_REACHED
    finished.num_generated_tokens += len(query)
    finished.num_inserted_tokens += len(inserted)
    finished.num_searches += int(is_made)
    written = "".join(map(toy.text_of, query))
    yield pb.GenerateResponse(delta=_delta(pb.CHANNEL_QUERY, query, written))
    yield pb.GenerateResponse(retrieval_step=step)
    result = "".join(map(toy.text_of, inserted))
    yield pb.GenerateResponse(delta=_delta(pb.CHANNEL_INSERTED, inserted, result))


async def write(
    request: pb.GenerateRequest, prompt_ids: list[int], quirk: Quirk, server: Busy
) -> AsyncIterator[pb.GenerateResponse]:
    """What follows Started."""
    stopping = request.stopping
    asked = stopping.max_new_tokens if stopping.HasField("max_new_tokens") else _DEFAULT_TOKENS
    finished = pb.Finished(
        reason=pb.FINISH_REASON_LENGTH, num_prompt_tokens=len(prompt_ids), num_searches=0
    )
    if request.HasField("retrieval"):
        for event in _searched(request, prompt_ids, finished):
            yield event
    before, held = prompt_ids[-1], ""
    longest = max(map(len, stopping.stop), default=0)
    num_written = 0
    while finished.num_generated_tokens < min(asked, MAX_NEW_TOKENS):
        await asyncio.sleep(quirk.pause_s)
        told = toy.log_probs(before, num_written)
        drawn = toy.draw(told, request.sampling, num_written)
        token = quirk.token(drawn, request, server)
        held += toy.text_of(token)
        place = min((held.find(one) for one in stopping.stop if one in held), default=-1)
        is_eos = token == toy.EOS and not stopping.ignore_eos
        # What may be the beginning of a stop string waits.
        cut = len(held) if is_eos else max(0, len(held) - max(0, longest - 1))
        cut = place if place >= 0 else cut
        delta = _delta(pb.CHANNEL_ANSWER, [token], held[:cut])
        if request.HasField("top_log_probs"):
            delta.log_probs.append(toy.described(token, told, request.top_log_probs))
        yield pb.GenerateResponse(delta=delta)
        before, held = token, held[cut:]
        num_written += 1
        finished.num_generated_tokens += 1
        if place >= 0 or is_eos:
            finished.reason = pb.FINISH_REASON_EOS if is_eos else pb.FINISH_REASON_STOP
            held = ""
            break
    if held:
        yield pb.GenerateResponse(delta=_delta(pb.CHANNEL_ANSWER, [], held))
    yield pb.GenerateResponse(finished=finished)
