"""Text of a server, as it enters: no half characters, and never the key."""

import codecs
import re
from collections.abc import Iterable
from typing import Final

# Shorter ones are placeholders (EMPTY, none, x): nothing secret, and words that a model may write.
MIN_SECRET: Final = 8
_HIDDEN: Final = "***"


def well_formed(text: str) -> str:
    """What can be written as UTF-8: two halves of a character are joined, a lone one is U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Joiner:
    """`well_formed` over the pieces of one text: the halves of a character may come in two."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")
        self._holds_half = False

    def add(self, piece: str) -> str:
        """What is whole by now; half a character at the end waits for the next piece."""
        if piece.isascii() and not self._holds_half:
            return piece
        text = self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"))
        self._holds_half = bool(self._decoder.getstate()[0])
        return text

    def end(self) -> str:
        """U+FFFD where a half still waits."""
        self._holds_half = False
        return self._decoder.decode(b"", final=True)


class Mask:
    """Puts *** in the place of secrets: as they are, percent-encoded or escaped as in JSON."""

    def __init__(self, secrets: Iterable[str]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        forms = [_any_form(secret) for secret in longest_first if len(secret) >= MIN_SECRET]
        self._pattern = re.compile("|".join(forms)) if forms else None

    def __call__(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(_HIDDEN, text)


def _any_form(secret: str) -> str:
    """A pattern in which each character stands in any of its forms."""
    return "".join(map(_forms, secret))


def _forms(character: str) -> str:
    escaped = re.escape(character)
    percents = "".join(f"%{byte:02x}" for byte in character.encode(errors="replace"))
    # JSON in JSON doubles the backslashes.
    return rf"(?:{escaped}|\\{{1,8}}(?:{escaped}|u(?i:{ord(character):04x}))|(?i:{percents}))"
