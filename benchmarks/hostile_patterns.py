"""Patterns and texts that make a search slow: a few by hand, hundreds by chance from one seed."""

import random
from collections.abc import Iterator

import re2

BY_HAND = [
    r"(?:[^;][ab])*\b(.+).{11}Q",
    r"a.{0,900}b.{0,900}Q",
    r"(?:a|b)*a(?:a|b){200}z",
    r"(?:[ab])*a(?:(?:[ab]){1,30}){25}z",
    r"(?:(?:[ab]){1,100}){9}Q",
    r"(?:(?:(?:\w){1,10}){1,10}){10}Q",
    r"(?:(?:a|b)?){900}Q",
    r"(?:(a)?){900}Q",
    r"(?:(a?)(a?)(a?)(a?)(a?)(a?)){150}Q",
    "(?:" + "(a){1,30}" * 10 + "){3}Q",
    "(?:" + "(a?)" * 150 + "){4}Q",
    "((a{0,30}){0,30})z",
    "(((((.*)a)*b)*a)*b)*z",
    r"^(.*)(.*)(.*)Q",
    r"(.+)(.+)(.+)Q$",
    r"\b.{0,200}\b.{0,200}\bQ",
    r"(?:\b|\B|^|$|.){100}Q",
    r"\pL{50}z",
    r"(?i)(?:bab|dad|[^x]{3}){80}q",
    "[^\x00-\x7f]{200}z",
]
_ATOMS = [
    *("a", "b", ".", "[ab]", "[^;]", r"\w", r"\S", r"\s", r"\pL", "(?i:bab)", r"\b", r"\B"),
    *("(?:ab|ba)", "[^x]", "a?", "()", "bab ", "(?s:.)", "[^\x00-\x7f]"),
]
_ENDS = ["Q", "Q", "z$", "", "Q$", ".{11}Q", r"\bQ"]


def patterns(number: int, seed: int) -> list[str]:
    """So many patterns that RE2 accepts, those by hand first."""
    rng = random.Random(seed)
    found = list(BY_HAND)
    while len(found) < number:
        begin = rng.choice(["", "", "", "^", r"\b", "(?s)"])
        pattern = begin + _part(rng, rng.choice([2, 3, 4, 5])) + _part(rng, 2) + rng.choice(_ENDS)
        if len(pattern) <= 1024 and _is_accepted(pattern):
            found.append(pattern)
    return found


def texts(num_characters: int) -> Iterator[tuple[str, str]]:
    """Names, and texts of so many characters."""
    rng = random.Random("texts")
    words = ["bab", "dad", "gog", "mim", "sas", "tat", ";"]
    alphabet = [chr(rng.randrange(0x400, 0x9000)) for _ in range(500)]
    yield "a", "a" * num_characters
    yield "ab", "".join(rng.choices("ab", k=num_characters))
    yield "words", " ".join(rng.choices(words, k=num_characters // 2))[:num_characters]
    yield "noise", "".join(map(chr, rng.choices(range(32, 127), k=num_characters)))
    yield "unicode", "".join(rng.choices(alphabet, k=num_characters))


def _part(rng: random.Random, depth: int) -> str:
    draw = rng.random()
    if depth == 0 or draw < 0.25:
        return rng.choice(_ATOMS)
    if draw < 0.5:
        group = "(" if rng.random() < 0.45 else "(?:"
        return f"{group}{_part(rng, depth - 1)}){_repeat(rng)}"
    if draw < 0.65:
        return f"(?:{_part(rng, depth - 1)}|{_part(rng, depth - 1)})"
    if draw < 0.75:
        return f"({_part(rng, depth - 1)})"
    return _part(rng, depth - 1) + _part(rng, depth - 1)


def _repeat(rng: random.Random) -> str:
    low = rng.choice([0, 0, 1, 2, 5, 11, 20])
    high = low + rng.choice([1, 5, 10, 30, 100, 300, 900])
    counted = [f"{{{low},{high}}}", f"{{{low},{high}}}?", f"{{{high}}}", f"{{{high},}}"]
    return rng.choice(["*", "+", "?", "*?", "+?", *counted, *counted])


def _is_accepted(pattern: str) -> bool:
    options = re2.Options()
    options.max_mem = 4 << 20
    options.log_errors = False
    try:
        re2.compile(pattern.encode(), options)
    except re2.error:
        return False
    return True
