"""How many tokens an endpoint's context leaves for a completion: as it states it, or learnt once.

A server that says so only where it refuses a request says it in words.
"""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from harness.clients.completion import CompletionRequest
from harness.sample import Prompt

# Begins with a digit: a comma alone is none.
_NUMBER: Final = r"\d[\d,]*"
# OpenAI and vLLM; Text Generation Inference; llama.cpp and others.
_LIMITS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"maximum context length (?:is|of)\D{{0,5}}({_NUMBER})",
        rf"max_new_tokens`? must be <= ({_NUMBER})",
        rf"context (?:length|size|window)\D{{0,20}}({_NUMBER})",
    )
)
_PROMPTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"({_NUMBER})`? (?:in the messages|in your prompt|input tokens|`?inputs)",
        rf"resulted in ({_NUMBER}) tokens",
    )
)
# Prompts of one cell are about as long as the first.
_SPARE_SHARE: Final = 0.05
_SPARE_TOKENS: Final = 8
# Of a prompt whose tokens nobody counts.
_TOKENS_A_WORD: Final = 2.0


def stated_context(detail: str) -> int | None:
    """The context's length in tokens that a refusal states: `... length is 2048 tokens ...`."""
    return _first_number(_LIMITS, detail)


def _first_number(patterns: Iterable[re.Pattern[str]], text: str) -> int | None:
    found = next(filter(None, (pattern.search(text) for pattern in patterns)), None)
    return None if found is None else int(found[1].replace(",", ""))


class ContextRoom:
    """Of one endpoint. `say` is told once of what is asked for less; `limit` None: not known."""

    def __init__(
        self, limit: int | None = None, say: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.limit = limit
        self._say = say
        self._is_said = False
        self._tokens_a_word = _TOKENS_A_WORD

    def read(self, prompt: Prompt, num_tokens: int) -> None:
        """The endpoint counted a prompt; 0: it does not count."""
        self._tokens_a_word = num_tokens / max(1, len(prompt.text.split())) or _TOKENS_A_WORD

    def num_tokens(self, prompt: Prompt) -> int:
        """At most so many, going by the prompt that was counted last."""
        num_tokens = len(prompt.text.split()) * self._tokens_a_word
        return math.ceil(num_tokens * (1 + _SPARE_SHARE)) + _SPARE_TOKENS

    def learn(self, detail: str, prompt: Prompt) -> None:
        """What a refusal states of the context, and of the prompt that was sent."""
        stated = stated_context(detail)
        if stated is None or (self.limit is not None and self.limit <= stated):
            return
        self.limit = stated
        num_tokens = _first_number(_PROMPTS, detail)
        if num_tokens is not None:
            self.read(prompt, num_tokens)

    def fitted(self, request: CompletionRequest) -> CompletionRequest:
        """The request, its completion no longer than there is room beside its prompt."""
        if self.limit is None:
            return request
        left = self.limit - self.num_tokens(request.prompt)
        if left >= request.max_new_tokens or left < 1:
            return request  # It fits, or nothing does: the endpoint says so itself.
        if not self._is_said:
            self._is_said = True
            self._say(
                f"its context takes {self.limit} tokens: completions of at most {left} or so "
                f"are asked for, not of {request.max_new_tokens}"
            )
        return replace(request, max_new_tokens=left)
