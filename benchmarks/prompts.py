"""Prompts of exact lengths in tokens, of words that every symbolic checkpoint reads."""

import random

from harness.tasks.vocabulary import NUMERALS, WORDS

_WORDS = WORDS + NUMERALS


def make_prompt(num_tokens: int, seed: str) -> str:
    """Random words, one token each."""
    return " ".join(random.Random(seed).choices(_WORDS, k=num_tokens))


def make_prompts(num_prompts: int, shortest: int, longest: int, repetition: int) -> list[str]:
    """Lengths evenly spaced; other words in every repetition, so that no prefix is known."""
    last = max(1, num_prompts - 1)
    return [
        make_prompt(shortest + i * (longest - shortest) // last, f"{repetition}/{i}")
        for i in range(num_prompts)
    ]
