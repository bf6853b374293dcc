"""What around an answer does not count: marks of emphasis and of formulas, ends of turns, case."""

from typing import Final

_DECORATION: Final = "*_`"
_QUOTES: Final = "\"'\u2018\u2019\u201c\u201d"
# A sign or a point before a number is part of it; a point after a word ends the sentence.
_BEFORE: Final = _DECORATION + _QUOTES + "([{<,;: \t"
_AFTER: Final = _DECORATION + _QUOTES + ")]}>?!,;:. \t"
# What stands around the whole of a formula. The deepest that is unwrapped is far over any real one.
_WRAPS: Final = {
    "$$": "$$",
    "$": "$",
    r"\(": r"\)",
    r"\[": r"\]",
    **{
        rf"\{name}{{": "}"
        for name in ("boxed", "fbox", "text", "textbf", "texttt", "mathrm", "mathbf", "mathtt")
    },
}
_MAX_WRAPS: Final = 16
# Case folded. A server shows them where it takes its model's end for text.
_ENDS_OF_TURN: Final = (
    "<|im_end|>",
    "<end_of_turn>",
    "</s>",
    "<eos>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|endofturn|>",
    "<|end_of_turn|>",
    "<|end_of_turn_token|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
)


def normalize(answer: str) -> str:
    """White space folded, case folded, and what stands around the whole dropped.

    `**42!**` is `42`, `(3.14).` is `3.14`, `\\boxed{42}` and `$42$` are `42`, `42<|im_end|>` is
    `42`; `-5` stays `-5`, whichever minus sign it has. What stands inside is left as it is.
    """
    folded = " ".join(answer.split()).casefold().replace("\N{MINUS SIGN}", "-")
    text = _without_end_of_turn(folded).lstrip(_BEFORE)
    for _ in range(_MAX_WRAPS):
        inner = _unwrapped(text)
        if inner is None:
            break
        text = inner.lstrip(_BEFORE)
    return text.rstrip(_AFTER)


def _without_end_of_turn(text: str) -> str:
    end = len(text)
    while text.endswith(_ENDS_OF_TURN, 0, end):
        # No such token ends with another.
        token = next(one for one in _ENDS_OF_TURN if text.endswith(one, 0, end))
        end -= len(token)
        while text.endswith(" ", 0, end):
            end -= 1
    return text[:end]


def _unwrapped(text: str) -> str | None:
    """Without the outermost wrap, where it is around all but what follows any answer."""
    if not text.startswith(("$", "\\")):
        return None
    for opening, closing in _WRAPS.items():
        if not text.startswith(opening):
            continue
        wrapped = text.rstrip(_AFTER.replace(closing[-1], ""))
        if wrapped.endswith(closing) and len(wrapped) >= len(opening) + len(closing):
            inner = wrapped[len(opening) : -len(closing)]
            if _is_closed(inner) if closing == "}" else closing not in inner:
                return inner
    return None


def _is_closed(text: str) -> bool:
    """Every brace closes one that was opened here."""
    depth = 0
    for sign in text:
        depth += (sign == "{") - (sign == "}")
        if depth < 0:
            return False
    return depth == 0
