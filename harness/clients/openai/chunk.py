"""One event of an OpenAI stream, of either API, as plain values: each field is what it should be.

What can be read is read; a text that is none, or a choice that is none, is a fault of the reply.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.clients.faults import BAD_RESPONSE, AttemptError
from harness.clients.incoming import well_formed
from harness.clients.openai.http_errors import dumped, error_from_event

# More tokens than any reply has are no count.
_MAX_COUNT: Final = 10**12
_MAX_SHOWN: Final = 200
_TEXT_PARTS: Final = frozenset({"text", "output_text", "refusal"})
_REASONING_PARTS: Final = frozenset({"thinking", "reasoning", "reasoning_content"})
# Deeper nested parts are nobody's text.
_MAX_DEPTH: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Counts are those so far, where the server gives them; an empty name is not given.

    `finish_reason` None: it goes on; empty: the server gives reasons, and none yet.
    """

    # Which choice it is of, where the server says.
    index: int | None = None
    text: str = ""
    # What the server gives apart as the model's reasoning.
    reasoning: str = ""
    finish_reason: str | None = None
    # The stop string that ended it, where the server says which (vLLM does).
    stopped_at: str = ""
    num_prompt: int | None = None
    num_generated: int | None = None
    num_reasoning: int | None = None
    model: str = ""
    fingerprint: str = ""


def read_chunk(event: Mapping[str, Any], index: int | None = None) -> Chunk:
    """Raises AttemptError where the event tells of an error, or is none.

    `index`: of the choice that is read, where several are sent side by side; else the first.
    """
    error = _error(event)
    if error:
        raise error_from_event(error)
    choice = _choice(event, index)
    # Where a server does not stream, the message is whole.
    delta = _table(choice, "delta" if "delta" in choice else "message")
    content, apart = _texts(delta.get("content"))
    usage = event.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("completion_tokens_details")
    apart_counts = details if isinstance(details, dict) else {}
    return Chunk(
        index=read_count(choice.get("index")),
        text=_text(choice.get("text")) or content or _text(delta.get("refusal")),
        reasoning=apart or _reasoning(delta),
        finish_reason=_reason(choice.get("finish_reason")),
        stopped_at=_name(choice.get("stop_reason")),
        num_prompt=read_count(counts.get("prompt_tokens")),
        num_generated=read_count(counts.get("completion_tokens")),
        num_reasoning=read_count(apart_counts.get("reasoning_tokens")),
        model=_name(event.get("model")),
        fingerprint=_name(event.get("system_fingerprint")),
    )


def _error(event: Mapping[str, Any]) -> Any:
    """What an event says of an error, in the several ways that servers have for that."""
    if event.get("error"):
        return event["error"]
    is_error = event.get("object") == "error" or event.get("type") == "error"
    message = event.get("message")
    # Elsewhere a message is what the model says, and no error.
    is_reply = isinstance(message, dict) and ("role" in message or "content" in message)
    says_alone = "choices" not in event and ("message" in event or "detail" in event)
    return event if is_error or (says_alone and not is_reply) else None


def _choice(event: Mapping[str, Any], index: int | None) -> Mapping[str, Any]:
    """The first choice that can be of this index.

    Empty where there is none, as in an event of the counts alone.
    """
    choices = event.get("choices")
    if choices is None or choices == []:
        return {}
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise _bad("choices", choices)
    tables: list[Mapping[str, Any]] = [choice for choice in choices if isinstance(choice, dict)]
    ours = (t for t in tables if index is None or read_count(t.get("index")) in {None, index})
    return next(ours, {})


def _table(choice: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = choice.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(key, value)
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _bad("a text", value)
    return value


def _reasoning(delta: Mapping[str, Any]) -> str:
    """Under either name; some servers give both, and the same in them."""
    for key in ("reasoning_content", "reasoning"):
        text, apart = _texts(delta.get(key))
        if text or apart:
            return text + apart
    return ""


def _texts(content: Any, depth: int = 0) -> tuple[str, str]:
    """Text and reasoning of a content: a string, or a list of parts of either kind."""
    if content is None or isinstance(content, str):
        return content or "", ""
    parts = [content] if isinstance(content, dict) else content
    if not isinstance(parts, list) or depth > _MAX_DEPTH:
        raise _bad("content", content)
    texts = [_part(part, depth) for part in parts]
    return "".join(text for text, _ in texts), "".join(apart for _, apart in texts)


def _part(part: Any, depth: int) -> tuple[str, str]:
    if isinstance(part, str):
        return part, ""
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _TEXT_PARTS | _REASONING_PARTS:
        raise _bad("a part of content", part)
    value = next((part[key] for key in (kind, "text", "content") if part.get(key)), None)
    text, apart = _texts(value, depth + 1)
    return (text, apart) if kind in _TEXT_PARTS else ("", text + apart)


def _reason(value: Any) -> str | None:
    if value is None or value == "null":
        return None
    if not isinstance(value, str):
        raise _bad("finish_reason", value)
    return _name(value.strip())


def read_count(value: Any) -> int | None:
    """A whole number of tokens, however it is written; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _MAX_COUNT or value != int(value):
        return None
    return int(value)


def _name(value: Any) -> str:
    return well_formed(value)[:_MAX_SHOWN] if isinstance(value, str) else ""


def _bad(what: str, value: Any) -> AttemptError:
    return AttemptError(BAD_RESPONSE, f"{what} cannot be {dumped(value)[:_MAX_SHOWN]}")
