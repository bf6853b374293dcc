"""OpenAI-compatible servers that set the pace, or refuse some requests, by name: a fake for each.

    python -m harness.fakes.paced_servers sixty-a-minute --port 8000
    python -m harness.fakes.paced_servers --list

Their model, any name, answers assoc_recall. On standard error each says how many requests it had.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import click

from harness.fakes.fake_commands import list_option, name_argument, port_option, tell_listening
from harness.fakes.fake_openai import FakeOpenAi, Reply, Script, solve

Now = Callable[[], float]
_ENDED: Final = Reply(
    status=400,
    body=json.dumps(
        {
            "error": {
                "message": "The response was filtered due to the prompt triggering a policy.",
                "code": "content_filter",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        }
    ),
)


class RateLimited:
    """Answers `limit` requests in any 60 seconds and the rest with 429, without Retry-After."""

    def __init__(self, limit: int, *, latency_s: float = 0.5, now_s: Now = time.monotonic) -> None:
        self._limit = limit
        self._latency_s = latency_s
        self._now_s = now_s
        self._taken_at_s: deque[float] = deque()

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        """The reply to the n-th request."""
        now_s = self._now_s()
        while self._taken_at_s and self._taken_at_s[0] <= now_s - 60:
            self._taken_at_s.popleft()
        if len(self._taken_at_s) >= self._limit:
            return _refusal(429, "Rate limit reached for requests")
        self._taken_at_s.append(now_s)
        return replace(solve(request, number), delay_s=self._latency_s)


class OneSlot:
    """Answers one request at a time, in the order they came; the others wait in its queue."""

    def __init__(self, answer_s: float = 2.0, *, now_s: Now = time.monotonic) -> None:
        self._answer_s = answer_s
        self._now_s = now_s
        self._free_at_s = 0.0

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        """The reply to the n-th request."""
        now_s = self._now_s()
        self._free_at_s = max(self._free_at_s, now_s) + self._answer_s
        return replace(solve(request, number), delay_s=self._free_at_s - now_s)


class SmallContext:
    """Refuses what is longer than its context in the words of OpenAI's API; it has no list."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def __call__(self, request: dict[str, Any], number: int) -> Reply:
        """The reply to the n-th request."""
        reply = solve(request, number)
        num_prompt = reply.usage[0] if reply.usage else 0
        num_asked = num_prompt + request.get("max_tokens", 0)
        if num_asked <= self._limit:
            return reply
        return _refusal(
            400,
            f"This model's maximum context length is {self._limit} tokens. However, you requested "
            f"{num_asked} tokens ({num_prompt} in the messages, "
            f"{request.get('max_tokens', 0)} in the completion).",
        )


def on_each(every: int, odd: Reply) -> Script:
    """Each n-th request gets this reply."""
    return lambda request, number: solve(request, number) if number % every else odd


def _refusal(status: int, message: str) -> Reply:
    return Reply(status=status, body=json.dumps({"error": {"message": message}}))


def _for_seconds(status: int, seconds: float) -> Script:
    """Of the second request on it fails for so long."""
    began: list[float] = []

    def script(request: dict[str, Any], number: int) -> Reply:
        if number > 1 and not began:
            began.append(time.monotonic())
        is_down = bool(began) and time.monotonic() < began[0] + seconds
        return _refusal(status, "away for a while") if is_down else solve(request, number)

    return script


PACED: Final[Mapping[str, tuple[str, Callable[[], Script]]]] = {
    "sixty-a-minute": ("60 requests a minute, then 429", lambda: RateLimited(60)),
    "one-slot": ("one request at a time, 2 seconds each", OneSlot),
    "filter": ("every fifth prompt is filtered: 400, content_filter", lambda: on_each(5, _ENDED)),
    "filter-at-end": (
        "every fifth answer ends as content_filter",
        lambda: on_each(5, Reply(texts=("I",), finish_reason="content_filter")),
    ),
    "refusal": (
        "every fifth request is refused: 400",
        lambda: on_each(5, _refusal(400, "no such prompt, please")),
    ),
    "refuses-all": (
        "every request but the first is refused: 400",
        lambda: (
            lambda request, number: (
                solve(request, number) if number == 1 else _refusal(400, "not today")
            )
        ),
    ),
    "small-context": ("a context of 700 tokens, known from its 400", lambda: SmallContext(700)),
    "down-500": ("500 for four seconds", lambda: _for_seconds(500, 4)),
    "down-529": ("529 for four seconds", lambda: _for_seconds(529, 4)),
}


def paced_script(name: str) -> Script:
    """A fresh one. Raises KeyError."""
    return PACED[name][1]()


async def _serve(name: str, port: int) -> None:
    models = Reply(body=json.dumps({"data": []}))
    async with FakeOpenAi(paced_script(name), models, port=port) as server:
        tell_listening(server.address)
        told = 0
        while True:
            await asyncio.sleep(1)
            if len(server.requests) != told:
                told = len(server.requests)
                click.echo(f"{told} requests, at most {server.max_running} at once", err=True)


_ROWS: Final = {name: (summary,) for name, (summary, _) in PACED.items()}


@click.command("paced")
@name_argument(_ROWS)
@port_option
@list_option(_ROWS)
def paced_command(name: str, port: int) -> None:
    """Serves until it is interrupted."""
    asyncio.run(_serve(name, port))


if __name__ == "__main__":
    paced_command()
