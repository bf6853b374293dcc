"""How much room a text takes on a drawing, whose browser is not known: no less than it needs."""

from typing import Final

# Of a letter, in parts of the size of the type, in wide faces.
_NARROW: Final = frozenset("ijlftr.,:;'|!()[] -")
_WIDE: Final = frozenset("mwMW@%")
_WIDTHS: Final = (0.42, 0.64, 0.98)


def text_width(text: str, size: float) -> float:
    """No less than a browser takes, in most faces."""
    return size * sum(
        _WIDTHS[0] if letter in _NARROW else _WIDTHS[2] if letter in _WIDE else _WIDTHS[1]
        for letter in text
    )


def folded(text: str, width: float, size: float) -> list[str]:
    """Lines of at most this width, if no word is wider."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
