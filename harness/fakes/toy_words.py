"""A toy model: words that follow from the one before, the sixth of them the last; one search."""

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2 as rpb

from harness.tasks import vocabulary as words

VOCABULARY: Final = words.vocabulary()
_IDS: Final[Mapping[str, int]] = {word: number for number, word in enumerate(VOCABULARY)}
EOS: Final = _IDS[words.EOS]
BOS: Final = _IDS[words.BOS]
_SPOKEN: Final = (*(_IDS[word] for word in words.KEYS[:16]), EOS)
_NUM_BEFORE_EOS: Final = 5
# Of a token that is never spoken.
_NEVER: Final = -50.0


def encode(text: str) -> list[int]:
    """Raises KeyError with the first word that is unknown."""
    return [_IDS[word] for word in text.split()]


def text_of(token: int) -> str:
    """As a completion has it: a word with its space; the end has no text."""
    return "" if token == EOS else f" {VOCABULARY[token]}"


def log_probs(before: int, num_written: int) -> dict[int, float]:
    """Of all that is spoken, the likeliest first."""
    num = len(_SPOKEN)
    raw = {token: -float((before * 7 + place * 3) % num) for place, token in enumerate(_SPOKEN)}
    raw[EOS] = 1.0 if num_written == _NUM_BEFORE_EOS else -20.0
    total = math.log(sum(map(math.exp, raw.values())))
    ordered = sorted(raw.items(), key=lambda item: -item[1])
    return {token: value - total for token, value in ordered}


def draw(told: Mapping[int, float], sampling: pb.SamplingOptions, position: int) -> int:
    """Greedy at temperature 0; seeded otherwise. It looks at neither top_k nor top_p."""
    if not sampling.temperature:
        return next(iter(told))
    generator = random.Random(sampling.seed * 1_000_003 + position)
    weights = [math.exp(value / sampling.temperature) for value in told.values()]
    return generator.choices(list(told), weights)[0]


def described(token: int, told: Mapping[int, float], num_top: int) -> pb.TokenLogProb:
    """With the likeliest of its place."""
    top = [
        pb.TopLogProb(token_id=one, token=VOCABULARY[one], log_prob=value)
        for one, value in list(told.items())[:num_top]
    ]
    value = told.get(token, _NEVER)
    return pb.TokenLogProb(token_id=token, token=VOCABULARY[token], log_prob=value, top=top)


def query_of(prompt_ids: Sequence[int], mode: int) -> list[int]:
    """What it writes to ask for the last word of its prompt."""
    pattern = [_IDS[words.CAPTURE_WORD]] if mode == rpb.RETRIEVAL_MODE_REGEX else []
    asked = [prompt_ids[-1], *pattern]
    return [_IDS[words.SEARCH_START], *asked, _IDS[words.SEARCH_END]]


def search(query: str, searched: str, options: pb.RetrievalOptions) -> pb.RetrievalStep:
    """The one search, with what it inserts."""
    outcome, found, expanded = rpb.SEARCH_OUTCOME_NOT_FOUND, "", ""
    for one in options.abbreviations:
        expanded = one.pattern if one.query == query else expanded
    if options.max_searches == 0 and options.HasField("max_searches"):
        outcome = rpb.SEARCH_OUTCOME_LIMIT_REACHED
    elif options.mode == rpb.RETRIEVAL_MODE_DENSE:
        # The passage that has the word.
        passages = [one.strip() for one in searched.split(words.SEPARATOR)]
        found = next((one for one in passages if query in one.split()), "")
    else:
        try:
            match = re.search(expanded or query, searched)
            found = match[match.lastindex or 0] if match else ""
        except re.error:
            outcome = rpb.SEARCH_OUTCOME_INVALID_QUERY
    if found:
        outcome = rpb.SEARCH_OUTCOME_FOUND
    most = options.max_inserted_tokens if options.HasField("max_inserted_tokens") else 64
    result = (found or words.FAILED).split()
    return pb.RetrievalStep(
        query=query,
        expanded_query=expanded,
        mode=options.mode,
        outcome=outcome,
        inserted_text=" ".join(result[:most]),
        num_inserted_tokens=min(most, len(result)),
        truncated=len(result) > most,
    )
