"""What is answered, whole or in chunks, in the words of either API."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from harnessapi.values import ModelDescription, Part

from harness.clients.completion import is_truncation
from harness.openai_server.choices import Ended, Span
from harness.openai_server.log_prob_lists import chat_log_probs, completion_log_probs

_DIGEST_CHARACTERS: Final = 12


class Dialect(Protocol):
    """One of the two APIs. A choice's fields are its own, but for index and finish_reason."""

    id_prefix: str
    whole_object: str
    chunk_object: str
    # The field of a request that holds what is asked.
    prompt_field: str

    def whole(self, spans: Sequence[Span], *, has_log_probs: bool) -> dict[str, Any]:
        """The fields of a choice that is whole."""
        ...

    def opening(self) -> dict[str, Any] | None:
        """Those of its first chunk, before any text; None where there is none such."""
        ...

    def piece(self, span: Span, *, has_log_probs: bool) -> dict[str, Any] | None:
        """Those of a chunk; None where it would say nothing."""
        ...

    def closing(self) -> dict[str, Any]:
        """Those of its last chunk."""
        ...


class CompletionDialect:
    """The text is all that the model wrote and what was inserted, as it stands in its context."""

    id_prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"
    prompt_field = "prompt"

    def whole(self, spans: Sequence[Span], *, has_log_probs: bool) -> dict[str, Any]:
        """See Dialect."""
        return {
            "text": "".join(span.text for span in spans),
            "logprobs": completion_log_probs(spans) if has_log_probs else None,
        }

    def opening(self) -> dict[str, Any] | None:
        """There is none."""
        return None

    def piece(self, span: Span, *, has_log_probs: bool) -> dict[str, Any] | None:
        """See Dialect."""
        if not span.text and not span.log_probs:
            return None
        return self.whole([span], has_log_probs=has_log_probs)

    def closing(self) -> dict[str, Any]:
        """See Dialect."""
        return {"text": "", "logprobs": None}


class ChatDialect:
    """The content is the answer; reasoning_content all else, queries and what was inserted too."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    prompt_field = "messages"

    def whole(self, spans: Sequence[Span], *, has_log_probs: bool) -> dict[str, Any]:
        """See Dialect."""
        answer, rest = _texts(spans)
        message = {"role": "assistant", "content": answer, "refusal": None}
        if rest:
            message["reasoning_content"] = rest
        return {"message": message, "logprobs": _chat_log_probs(spans, has_log_probs)}

    def opening(self) -> dict[str, Any] | None:
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, span: Span, *, has_log_probs: bool) -> dict[str, Any] | None:
        """See Dialect."""
        if not span.text and not span.log_probs:
            return None
        name = "content" if span.part is Part.ANSWER else "reasoning_content"
        delta = {name: span.text} if span.text else {}
        return {"delta": delta, "logprobs": _chat_log_probs([span], has_log_probs)}

    def closing(self) -> dict[str, Any]:
        """See Dialect."""
        return {"delta": {}, "logprobs": None}


def _texts(spans: Sequence[Span]) -> tuple[str, str]:
    """The answer, and all else."""
    answer = "".join(span.text for span in spans if span.part is Part.ANSWER)
    return answer, "".join(span.text for span in spans if span.part is not Part.ANSWER)


def _chat_log_probs(spans: Sequence[Span], has_log_probs: bool) -> dict[str, Any] | None:
    if not has_log_probs:
        return None
    return {
        "content": chat_log_probs(span for span in spans if span.part is Part.ANSWER),
        "reasoning_content": chat_log_probs(span for span in spans if span.part is not Part.ANSWER),
        "refusal": None,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What stands around the choices of one answer, the same in all its chunks."""

    dialect: Dialect
    endpoint: str
    model: ModelDescription
    created: int = field(default_factory=lambda: int(time.time()))
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def whole(self, choices: Sequence[dict[str, Any]], ends: Sequence[Ended]) -> dict[str, Any]:
        """An answer that is not streamed."""
        return {**self._head(self.dialect.whole_object), "choices": choices, "usage": usage(ends)}

    def chunk(self, choice: dict[str, Any] | None, **rest: Any) -> dict[str, Any]:
        """One event of a stream; `rest`: usage, where it was asked for."""
        choices = [] if choice is None else [choice]
        return {**self._head(self.dialect.chunk_object), "choices": choices, **rest}

    def _head(self, kind: str) -> dict[str, Any]:
        model = self.model
        digest = model.checkpoint_digest[:_DIGEST_CHARACTERS]
        return {
            "id": f"{self.dialect.id_prefix}{self.key}",
            "object": kind,
            "created": self.created,
            "model": self.endpoint,
            "system_fingerprint": f"{model.engine}-{model.engine_version}-{digest}",
        }


def ending(ended: Ended) -> dict[str, Any]:
    """Of a choice: finish_reason in OpenAI's words; under `recall` in ours, and its searches."""
    return {
        "finish_reason": "length" if is_truncation(ended.finish_reason) else "stop",
        "recall": {
            "finish_reason": ended.finish_reason,
            "num_searches": ended.num_searches,
            "num_inserted_tokens": ended.num_inserted_tokens,
        },
    }


def usage(ends: Sequence[Ended]) -> dict[str, int]:
    """Of all choices; what was inserted is counted as neither prompt nor completion."""
    prompt = sum(end.num_prompt_tokens for end in ends)
    completion = sum(end.num_generated_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
