"""What the replies of a cell took and said of themselves, added up one completion at a time."""

from collections.abc import Iterable
from typing import Any, Final

from harness.clients.completion import Completion

# A server may name itself anew in every reply.
MAX_NAMES: Final = 10


class ReplyFacts:
    """Tokens as they are paid for: a dialogue of several turns sends its prompt in each."""

    def __init__(self) -> None:
        self._num_prompt = 0
        self._num_generated = 0
        # None: no server said.
        self._num_reasoning: int | None = None
        self._models: dict[str, None] = {}
        self._fingerprints: dict[str, None] = {}

    def add(self, completion: Completion) -> None:
        """Counts one completion; where the server gave no usage, by the completion's counts."""
        prompts = [turn.num_prompt_tokens for turn in completion.usage]
        given = [count for count in prompts if count is not None]
        self._num_prompt += sum(given) if given else completion.num_prompt_tokens
        self._num_generated += completion.num_generated_tokens
        for turn in completion.usage:
            if turn.num_reasoning_tokens is not None:
                self._num_reasoning = (self._num_reasoning or 0) + turn.num_reasoning_tokens
        _remember(self._models, completion.reply_models)
        _remember(self._fingerprints, completion.system_fingerprints)

    def fields(self) -> dict[str, Any]:
        """As the metrics of a cell have them."""
        return {
            "prompt_tokens_total": self._num_prompt,
            "generated_tokens_total": self._num_generated,
            "reasoning_tokens_total": self._num_reasoning,
            "reply_models": tuple(self._models),
            "system_fingerprints": tuple(self._fingerprints),
        }


def _remember(known: dict[str, None], names: Iterable[str]) -> None:
    for name in names:
        if name in known or len(known) < MAX_NAMES:
            known[name] = None
