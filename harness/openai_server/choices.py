"""What comes of one prompt: spans of its text in their order, and how it ended."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import PARTS
from harnessapi.values import FinishReason, Part

from harness.clients.completion import COUNTS, Completion, Counts
from harness.clients.log_probs import read_log_probs
from harness.clients.scored_token import ScoredToken
from harness.openai_server.bodies import CompletionBody
from harness.openai_server.errors import refused
from harness.openai_server.to_wire import (
    AskedPrompt,
    PromptBody,
    generate_message,
    num_top_log_probs,
)
from harness.openai_server.upstream import Upstream
from harness.way import Style

# How byte-level tokenizers and SentencePiece name a space.
_SPACES = str.maketrans({"Ġ": " ", "▁": " "})
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A piece of a choice's text; `start`: where it begins there, in characters.

    `log_probs` are those of the tokens that came with it.
    """

    part: Part
    text: str
    start: int = 0
    log_probs: tuple[ScoredToken, ...] = ()


class Ended(Counts, frozen=True, kw_only=True):
    """A choice is whole."""

    finish_reason: str


# The prompt was taken; more text; the end.
ChoiceEvent = pb.Started | Span | Ended


def all_choices(
    upstream: Upstream, body: PromptBody, prompts: Sequence[AskedPrompt]
) -> AsyncGenerator[tuple[int, ChoiceEvent]]:
    """The events of all prompts as they come, with the index of each.

    Raises ApiError before the first event where a request is wrong, and AttemptError.
    """
    if isinstance(body, CompletionBody):
        # Refused before anything is asked: what one prompt lacks, all lack.
        _check_limit(body, upstream, prompts)
    messages = [generate_message(body, upstream, prompt) for prompt in prompts]
    return merged(
        [
            _choice(upstream, body, prompt, message)
            for prompt, message in zip(prompts, messages, strict=True)
        ]
    )


def _check_limit(body: CompletionBody, upstream: Upstream, prompts: Sequence[AskedPrompt]) -> None:
    if body.token_limit == 0 and not body.echo:
        raise refused("max_tokens", "it is 0; it has to be at least 1, or the prompt echoed")
    if _is_scored(body, prompts[0]) and upstream.model.max_top_log_probs is None:
        raise refused(
            "echo", f"{upstream.name} does not score: it echoes texts alone, and goes on with them"
        )


def _is_scored(body: CompletionBody, prompt: AskedPrompt) -> bool:
    """A text that is gone on with is echoed as it came; else the endpoint names its tokens."""
    is_plain = isinstance(prompt, str) and body.logprobs is None and body.token_limit != 0
    return body.echo and not is_plain


async def _choice(
    upstream: Upstream, body: PromptBody, prompt: AskedPrompt, message: pb.GenerateRequest
) -> AsyncGenerator[ChoiceEvent]:
    start = 0
    if isinstance(body, CompletionBody) and body.echo and not isinstance(prompt, pb.Conversation):
        echo, num_tokens = await _echoed(upstream, body, prompt)
        yield echo
        start = len(echo.text)
        if body.token_limit == 0:
            yield _scored_alone(num_tokens)
            return
    async with aclosing(upstream.complete(message)) as events:
        async for event in events:
            match event:
                case pb.Delta():
                    yield Span(
                        part=PARTS.member(event.channel) or Part.REASONING,
                        text=event.text,
                        start=start,
                        log_probs=read_log_probs(event.log_probs),
                    )
                    start += len(event.text)
                case Completion():
                    yield Ended(
                        finish_reason=event.finish_reason,
                        **{name: getattr(event, name) for name in COUNTS},
                    )
                case _:
                    yield event


async def _echoed(
    upstream: Upstream, body: CompletionBody, prompt: str | tuple[int, ...]
) -> tuple[Span, int]:
    """The prompt, and how many tokens it has; 0 where nobody counted them."""
    if not _is_scored(body, prompt):
        return Span(part=Part.REASONING, text=str(prompt)), 0
    scored = await upstream.score(prompt, num_top=num_top_log_probs(body, upstream) or 0)
    tokens = scored.tokens
    text = prompt if isinstance(prompt, str) else _joined(tokens, upstream)
    log_probs = tokens if body.logprobs is not None else ()
    return Span(part=Part.REASONING, text=text, log_probs=log_probs), len(tokens)


def _joined(tokens: Sequence[ScoredToken], upstream: Upstream) -> str:
    """The text of token ids, going by the names of the tokens."""
    if Style.NATURAL not in upstream.model.styles:
        return " ".join(one.token for one in tokens)
    return "".join(one.token for one in tokens).translate(_SPACES)


def _scored_alone(num_tokens: int) -> Ended:
    return Ended(
        finish_reason=FinishReason.LENGTH,
        num_prompt_tokens=num_tokens,
        num_generated_tokens=0,
        num_inserted_tokens=0,
        num_searches=0,
    )


async def merged(
    streams: Sequence[AsyncGenerator[_Item]],
) -> AsyncGenerator[tuple[int, _Item]]:
    """What comes of all, as it comes; the first error ends all, and so does closing it."""
    # A reader that is slow holds them up. None: one has ended.
    queue: asyncio.Queue[tuple[int, _Item] | Exception | None] = asyncio.Queue(len(streams))

    async def follow(index: int, stream: AsyncGenerator[_Item]) -> None:
        try:
            async with aclosing(stream):
                async for item in stream:
                    await queue.put((index, item))
        except Exception as error:  # raised where it is read
            await queue.put(error)
        else:
            await queue.put(None)

    tasks = [asyncio.create_task(follow(*pair)) for pair in enumerate(streams)]
    try:
        num_running = len(tasks)
        while num_running:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                num_running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
