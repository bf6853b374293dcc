"""Reads the log-probabilities that vLLM gives, a mapping of token ids at each place."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness_servers.generation import TokenLogProb


def log_probs(
    token_ids: Sequence[int], given: Sequence[Mapping[int, Any]], num_top: int | None
) -> list[TokenLogProb]:
    """Of each token, out of the few that vLLM has at its place: its own and the likeliest."""
    return [
        TokenLogProb(
            token_id=token,
            log_prob=at_place[token].logprob,
            top=tuple(
                (other, one.logprob)
                for other, one in sorted(at_place.items(), key=_rank)[: num_top or 0]
            ),
        )
        for token, at_place in zip(token_ids, given, strict=True)
    ]


def _rank(item: tuple[int, Any]) -> int:
    return int(item[1].rank)
