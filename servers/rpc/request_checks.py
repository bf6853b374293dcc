"""Checks a request against the model it is for; every error names the value."""

import math
from collections.abc import Collection, Sequence
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import ModelDescription

from harness_retrieval.limits import MAX_CONTEXT_CHARACTERS
from harness_servers.checkpoints.codec import QUESTION_MARKS, Encoded
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import Retrieval, Sampling, Stopping

_MAX_ABBREVIATIONS: Final = 32
_MAX_SHOWN_CHARACTERS: Final = 100
_MAX_MESSAGES: Final = 4096
_MAX_STOPS: Final = 16
_MAX_STOP_CHARACTERS: Final = 256
_MAX_INSERTED_TOKENS: Final = 65_536
# In one answer: some ten megabytes with the names of their tokens.
_MAX_LOG_PROBS: Final = 2**18
# A text is refused unread that is longer than any prompt: bytes, and words between white space,
# for each token that a prompt may have. Language has some four bytes, and less than a word a token.
_MAX_BYTES_PER_TOKEN: Final = 16
MAX_WORDS_PER_TOKEN: Final = 2
_MAX_WORDING_CHARACTERS: Final = 256
# Of a request, beside its prompt and its searched text.
_OTHER_BYTES: Final = 2**20


def max_request_bytes(model: ModelDescription) -> int:
    """A request that holds more is refused for one of its parts, whatever they are.

    There is room for a prompt and a searched text as long. Reading a message holds up every stream,
    some 2 ms for each of its megabytes.
    """
    return 2 * _MAX_BYTES_PER_TOKEN * model.max_prompt_tokens + _OTHER_BYTES


def check_lengths(request: pb.GenerateRequest) -> None:
    """Raises InvalidRequestError for more of something than is looked at, before it is read."""
    _check_number("stop strings", len(request.stopping.stop), _MAX_STOPS)
    _check_number("abbreviations", len(request.retrieval.abbreviations), _MAX_ABBREVIATIONS)
    searched = len(request.retrieval.searched_text)
    _check_number("characters of searched_text", searched, MAX_CONTEXT_CHARACTERS)


def check_conversation(conversation: pb.Conversation) -> None:
    """Raises InvalidRequestError for one without messages, or of too many."""
    if not conversation.messages:
        raise InvalidRequestError("the prompt is a conversation without messages")
    _check_number("messages", len(conversation.messages), _MAX_MESSAGES)


def check_texts(texts: Sequence[str], model: ModelDescription) -> None:
    """Raises InvalidRequestError for texts that together are longer than any prompt."""
    most = _MAX_BYTES_PER_TOKEN * model.max_prompt_tokens
    num_bytes = sum(map(len, texts))
    if num_bytes <= most:
        num_bytes = sum(len(text.encode()) for text in texts)
    if num_bytes > most:
        raise InvalidRequestError(
            f"the text has {num_bytes} bytes or more; at most {most} are read: "
            f"{_MAX_BYTES_PER_TOKEN} for each of the {model.max_prompt_tokens} tokens of a prompt"
        )
    most = MAX_WORDS_PER_TOKEN * model.max_prompt_tokens
    if num_bytes > most and sum(len(text.split(None, most)) for text in texts) > most:
        raise InvalidRequestError(
            f"the text has over {most} words; a prompt has at most {model.max_prompt_tokens} tokens"
        )


def check_options(
    sampling: Sampling, stopping: Stopping, retrieval: Retrieval | None, model: ModelDescription
) -> None:
    """Raises InvalidRequestError for an option out of range or that this model does not have."""
    _check_sampling(sampling)
    _check_stopping(stopping)
    if retrieval is not None:
        _check_retrieval(retrieval, model)


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
    _check_ids("prompt", ids, model)


def check_question(
    ids: Sequence[int], question_ids: Collection[int], model: ModelDescription
) -> None:
    """Raises InvalidRequestError for a prompt without one of these, where state bits count."""
    if model.state_bits and not {*ids} & {*question_ids}:
        raise InvalidRequestError(
            f"no question in the prompt ({', '.join(QUESTION_MARKS)}): {model.name} is served with "
            f"{model.state_bits} bits of its state, which are taken where a question begins"
        )


def check_given(prompt_ids: Sequence[int], ids: Sequence[int], model: ModelDescription) -> None:
    """Raises InvalidRequestError for an empty continuation, an id out of range, or where it makes

    too long a text with its prompt, which may be empty.
    """
    if not ids:
        raise InvalidRequestError("the continuation is empty: there is no token to score")
    num_tokens = len(prompt_ids) + len(ids)
    whole = f"prompt and continuation have {num_tokens} tokens"
    if num_tokens > model.max_prompt_tokens:
        raise InvalidRequestError(f"{whole}; at most {model.max_prompt_tokens} are taken")
    if model.context_limit is not None and num_tokens > model.context_limit:
        raise InvalidRequestError(f"{whole}; the context holds {model.context_limit}")
    _check_ids("continuation", ids, model)


def check_top_log_probs(top_log_probs: int, num_scored: int, model: ModelDescription) -> None:
    """Raises InvalidRequestError for more than there are, at a place or in one message."""
    most = model.max_top_log_probs
    if most is None:
        raise InvalidRequestError(f"top_log_probs is set; {model.name} gives no log-probabilities")
    if top_log_probs > most:
        raise InvalidRequestError(f"top_log_probs is {top_log_probs}; at most {most} are given")
    num_log_probs = num_scored * (1 + top_log_probs)
    if num_log_probs > _MAX_LOG_PROBS:
        raise InvalidRequestError(
            f"top_log_probs is {top_log_probs}: with {num_scored} tokens to score these are "
            f"{num_log_probs} log-probabilities; at most {_MAX_LOG_PROBS} are given at once"
        )


def check_words(encoded: Encoded, of: str = "") -> None:
    """Raises InvalidRequestError for a word that the vocabulary does not have."""
    if encoded.unknown:
        first = encoded.unknown[0]
        others = encoded.num_unknown - 1
        raise InvalidRequestError(
            f"word {first.position}{of}, {_shown(first.word)}, is not in the vocabulary"
            + (f"; nor are {others} more" if others else "")
        )


def _check_ids(of: str, ids: Sequence[int], model: ModelDescription) -> None:
    if max(ids) >= model.vocabulary_size or min(ids) < 0:
        position, token = next(
            (i, t) for i, t in enumerate(ids) if not 0 <= t < model.vocabulary_size
        )
        raise InvalidRequestError(
            f"{of} token {position} has id {token}; ids end at {model.vocabulary_size - 1}"
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
    longest = max(map(len, stopping.stop), default=0)
    if longest > _MAX_STOP_CHARACTERS:
        raise InvalidRequestError(
            f"a stop string has {longest} characters; at most {_MAX_STOP_CHARACTERS} are taken"
        )


def _check_retrieval(retrieval: Retrieval, model: ModelDescription) -> None:
    if model.state_bits:
        raise InvalidRequestError(
            f"retrieval was asked for; {model.name} is served with {model.state_bits} bits of its "
            "state, and a search would read again what they have not kept"
        )
    if model.markers is None:
        raise InvalidRequestError(f"retrieval was asked for; {model.name} has no search channel")
    if retrieval.mode not in model.modes:
        modes = ", ".join(model.modes)
        raise InvalidRequestError(f"no retrieval mode {retrieval.mode.value!r}; there are: {modes}")
    if not 1 <= retrieval.max_inserted_tokens <= _MAX_INSERTED_TOKENS:
        raise InvalidRequestError(
            f"max_inserted_tokens is {retrieval.max_inserted_tokens}; "
            f"it has to be at least 1, and at most {_MAX_INSERTED_TOKENS}"
        )
    if retrieval.top_k < 1:
        raise InvalidRequestError(f"retrieval top_k is {retrieval.top_k}; it has to be at least 1")
    for name in ("result_prefix", "result_suffix", "failed_text"):
        length = len(getattr(retrieval, name) or "")
        if length > _MAX_WORDING_CHARACTERS:
            raise InvalidRequestError(
                f"{name} has {length} characters; at most {_MAX_WORDING_CHARACTERS} are taken"
            )


def _check_number(of_what: str, number: int, most: int) -> None:
    if number > most:
        raise InvalidRequestError(f"{number} {of_what}; at most {most} are taken")


def _shown(word: str) -> str:
    """An error travels in a header, which holds a few thousand characters."""
    if len(word) <= _MAX_SHOWN_CHARACTERS:
        return repr(word)
    return f"{word[:_MAX_SHOWN_CHARACTERS]!r}... ({len(word)} characters)"
