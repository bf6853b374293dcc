"""Checks a request against the model it is for; every error names the value."""

import math
from collections.abc import Sequence
from typing import Final

from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import Encoded
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import Retrieval, Sampling, Stopping

_MAX_ABBREVIATIONS: Final = 32
_MAX_STOPS: Final = 16
_MAX_STOP_CHARACTERS: Final = 256
# Of a text that no token can be read from faster than this many characters each: what the longest
# prompt may have. Written language has about four, our words at most eight.
_MAX_CHARACTERS_PER_TOKEN: Final = 16
_MAX_SHOWN_CHARACTERS: Final = 64
_MAX_WORDING_CHARACTERS: Final = 256


def check_options(
    sampling: Sampling, stopping: Stopping, retrieval: Retrieval | None, model: ModelDescription
) -> None:
    """Raises InvalidRequestError for an option out of range or that this model does not have."""
    _check_sampling(sampling)
    _check_stopping(stopping)
    if retrieval is not None:
        _check_retrieval(retrieval, model)


def check_length(num_characters: int, model: ModelDescription) -> None:
    """Raises InvalidRequestError for a text that is too long to be tokenized at all."""
    limit = model.max_prompt_tokens * _MAX_CHARACTERS_PER_TOKEN
    if num_characters > limit:
        raise InvalidRequestError(
            f"the prompt has {num_characters} characters; at most {limit} are read "
            f"({_MAX_CHARACTERS_PER_TOKEN} for each of {model.max_prompt_tokens} tokens)"
        )


def shortened(text: str) -> str:
    """The text, or its beginning where it is too long to be shown."""
    if len(text) <= _MAX_SHOWN_CHARACTERS:
        return text
    return f"{text[:_MAX_SHOWN_CHARACTERS]}... ({len(text)} characters)"


def check_prompt(ids: Sequence[int], model: ModelDescription) -> None:
    """Raises InvalidRequestError for an empty or too long prompt, or an id out of range."""
    if not ids:
        raise InvalidRequestError("the prompt is empty")
    if len(ids) > model.max_prompt_tokens:
        raise InvalidRequestError(
            f"the prompt has {len(ids)} tokens; at most {model.max_prompt_tokens} are taken"
        )
    if model.context_limit is not None and len(ids) >= model.context_limit:
        raise InvalidRequestError(
            f"the prompt has {len(ids)} tokens and fills the context of {model.context_limit}"
        )
    if max(ids) >= model.vocabulary_size or min(ids) < 0:
        position, token = next(
            (i, t) for i, t in enumerate(ids) if not 0 <= t < model.vocabulary_size
        )
        raise InvalidRequestError(
            f"prompt token {position} has id {token}; ids end at {model.vocabulary_size - 1}"
        )


def check_words(encoded: Encoded) -> None:
    """Raises InvalidRequestError for a word that the vocabulary does not have."""
    if encoded.unknown:
        first = shortened(encoded.unknown[0])
        others = len(encoded.unknown) - 1
        raise InvalidRequestError(
            f"word {encoded.first_unknown}, {first!r}, is not in the vocabulary"
            + (f"; nor are {others} more" if others else "")
        )


def _check_sampling(sampling: Sampling) -> None:
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise InvalidRequestError(
            f"temperature is {sampling.temperature}; it has to be a number of at least 0"
        )
    if not 0 < sampling.top_p <= 1:
        raise InvalidRequestError(f"top_p is {sampling.top_p}; it has to be in (0, 1]")
    if sampling.top_k < 0:
        raise InvalidRequestError(f"top_k is {sampling.top_k}; it has to be at least 0")


def _check_stopping(stopping: Stopping) -> None:
    if stopping.max_new_tokens < 1:
        raise InvalidRequestError(
            f"max_new_tokens is {stopping.max_new_tokens}; it has to be at least 1"
        )
    if "" in stopping.stop:
        raise InvalidRequestError("stop holds an empty string")
    if len(stopping.stop) > _MAX_STOPS:
        raise InvalidRequestError(
            f"stop holds {len(stopping.stop)} strings; at most {_MAX_STOPS} are taken"
        )
    for number, stop in enumerate(stopping.stop, start=1):
        if len(stop) > _MAX_STOP_CHARACTERS:
            raise InvalidRequestError(
                f"stop string {number} has {len(stop)} characters; "
                f"at most {_MAX_STOP_CHARACTERS} are taken"
            )


def _check_retrieval(retrieval: Retrieval, model: ModelDescription) -> None:
    if model.markers is None:
        raise InvalidRequestError(f"retrieval was asked for; {model.name} has no search channel")
    if retrieval.mode not in model.modes:
        modes = ", ".join(model.modes)
        raise InvalidRequestError(f"no retrieval mode {retrieval.mode.value!r}; there are: {modes}")
    if retrieval.max_inserted_tokens < 1:
        raise InvalidRequestError(
            f"max_inserted_tokens is {retrieval.max_inserted_tokens}; it has to be at least 1"
        )
    if retrieval.top_k < 1:
        raise InvalidRequestError(f"retrieval top_k is {retrieval.top_k}; it has to be at least 1")
    for name in ("result_prefix", "result_suffix", "failed_text"):
        length = len(getattr(retrieval, name) or "")
        if length > _MAX_WORDING_CHARACTERS:
            raise InvalidRequestError(
                f"{name} has {length} characters; at most {_MAX_WORDING_CHARACTERS} are taken"
            )
    if len(retrieval.abbreviations) > _MAX_ABBREVIATIONS:
        raise InvalidRequestError(
            f"{len(retrieval.abbreviations)} abbreviations; at most {_MAX_ABBREVIATIONS} are taken"
        )
