"""One event of an OpenAI stream, of either API, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.clients.openai.http_errors import error_from_event


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """`num_generated` and `num_prompt` are the counts so far, where the server gives them."""

    text: str = ""
    # What the server gives apart as the model's reasoning.
    reasoning: str = ""
    finish_reason: str | None = None
    num_prompt: int | None = None
    num_generated: int | None = None


def read_chunk(event: Mapping[str, Any]) -> Chunk:
    """Raises AttemptError where the event tells of an error."""
    if event.get("error"):
        raise error_from_event(event["error"])
    # The last event carries the counts alone.
    choice: Mapping[str, Any] = next(iter(event.get("choices") or []), {})
    delta = choice.get("delta") or {}
    usage = event.get("usage") or {}
    return Chunk(
        text=choice.get("text") or delta.get("content") or "",
        reasoning=delta.get("reasoning_content") or delta.get("reasoning") or "",
        finish_reason=choice.get("finish_reason"),
        num_prompt=usage.get("prompt_tokens"),
        num_generated=usage.get("completion_tokens"),
    )
