"""Log-probabilities as the two APIs have them."""

from collections.abc import Iterable
from typing import Any, Final

from harness.clients.scored_token import ScoredToken
from harness.openai_server.choices import Span

# JSON has no infinity; what OpenAI's servers say in its place.
_LEAST: Final = -9999.0


def completion_log_probs(spans: Iterable[Span]) -> dict[str, list[Any]]:
    """Lists with an entry a token; null for a first token, which nothing stands before.

    The token itself is among the likeliest whether it is or not, so that each entry has one.
    """
    tokens: list[str] = []
    values: list[float | None] = []
    tops: list[dict[str, float] | None] = []
    offsets: list[int] = []
    for span in spans:
        end = 0
        for one in span.log_probs:
            # A token may come before its text, and its name need not be its text.
            place = span.text.find(one.token, end)
            offsets.append(span.start + (end if place < 0 else place))
            end = end if place < 0 else place + len(one.token)
            tokens.append(one.token)
            values.append(_value(one))
            tops.append(_top(one))
    return {
        "tokens": tokens,
        "token_logprobs": values,
        "top_logprobs": tops,
        "text_offset": offsets,
    }


def chat_log_probs(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """An entry a token."""
    return [
        {
            **_entry(one.token, _value(one)),
            "top_logprobs": [_entry(top.token, _finite(top.log_prob)) for top in one.top],
        }
        for span in spans
        for one in span.log_probs
    ]


def _entry(token: str, value: float | None) -> dict[str, Any]:
    # The name of a token need not be its bytes.
    return {"token": token, "logprob": value, "bytes": None}


def _top(one: ScoredToken) -> dict[str, float] | None:
    value = _value(one)
    if value is None:
        return None
    tops: dict[str, float] = {}
    for top in one.top:
        # Of two tokens of one name the likelier counts.
        tops.setdefault(top.token, _finite(top.log_prob))
    tops.setdefault(one.token, value)
    return tops


def _value(one: ScoredToken) -> float | None:
    return None if one.log_prob is None else _finite(one.log_prob)


def _finite(value: float) -> float:
    return max(value, _LEAST)
