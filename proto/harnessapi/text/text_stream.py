"""The text of tokens as they come: the pieces joined are the text of all of them.

With each token a tokenizer decodes the last few anew, and what is sure of their text is given. Two
things are not sure yet: a character whose bytes have not all come; and, where single bytes are
tokens (`<0xE6>`), a run of them: one that is no UTF-8 as a whole is U+FFFD byte by byte.
"""

import json
from collections.abc import Collection, Sequence
from typing import Final

from tokenizers import Tokenizer

# Decoding looks back at a few tokens only: whether a space or the rest of a character is due.
_NUM_CONTEXT: Final = 8
_MAX_WINDOW: Final = 24
# Of a prompt: enough for a context where some of them have no text.
_NUM_PROMPT: Final = 64
_UNFINISHED: Final = "\N{REPLACEMENT CHARACTER}"
_BYTE_FALLBACK: Final = b'"ByteFallback"'


class TokenTexts:
    """What a tokenizer makes of ids: shared by all streams, and thread-safe."""

    def __init__(
        self, tokenizer: Tokenizer, *, shows_specials: bool, shown: Collection[str] = ()
    ) -> None:
        """`shown`: special tokens that are text in any case."""
        self._tokenizer = tokenizer
        known = tokenizer.get_vocab(with_added_tokens=True).values()
        self._end = max(known, default=-1) + 1
        silent = {*range(self._end)} - {*known}
        if not shows_specials:
            added = tokenizer.get_added_tokens_decoder()
            silent |= {
                token for token, text in added.items() if text.special and text.content not in shown
            }
        # Ids without text: they are no tokens, or special ones that nobody is shown.
        self._silent = frozenset(silent)
        self.byte_ids = _byte_ids(tokenizer)
        self.adds_alike = _adds_alike(tokenizer)
        # What tokens have added where nothing was held back before them or after.
        self.added: dict[int, str] = {}

    def audible(self, ids: Sequence[int]) -> list[int]:
        """Those that have a text."""
        return [token for token in ids if token < self._end and token not in self._silent]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids that have one."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text


class TextStream:
    """Follows one sequence: `read` tokens as they come; `flush` where nothing more is to come."""

    def __init__(self, texts: TokenTexts, prompt_ids: Sequence[int]) -> None:
        self._texts = texts
        # The last tokens, of whose text so many characters have been given; None: all.
        self._window = texts.audible(prompt_ids[-_NUM_PROMPT:])[-_NUM_CONTEXT:]
        self._run_start: int | None = None  # where the bytes begin that the window ends with
        text = texts.decode(self._window)
        self._num_given: int | None = _num_finished(text)
        # All is given, and it is something: what comes next has a text before it.
        self._is_clean = 0 < self._num_given == len(text)

    def read_one(self, token: int) -> str:
        """The text that this token makes sure of: `read`, but quick for tokens seen before."""
        was_clean = self._is_clean
        if was_clean and (text := self._texts.added.get(token)):
            self._window.append(token)
            self._num_given = None
            if len(self._window) > _MAX_WINDOW:
                del self._window[:-_NUM_CONTEXT]
            return text
        text = self.read((token,))
        if was_clean and self._is_clean and self._texts.adds_alike:
            self._texts.added[token] = text
        return text

    def read(self, ids: Sequence[int]) -> str:
        """The text that these tokens make sure of."""
        audible = self._texts.audible(ids)
        if not audible:
            return ""
        if self._num_given is None:
            self._num_given = len(self._texts.decode(self._window))
        had_run = self._run_start is not None
        has_text = False
        for token in audible:
            if token not in self._texts.byte_ids:
                self._run_start, has_text = None, True
            elif self._run_start is None:
                self._run_start = len(self._window)
            self._window.append(token)
        if had_run and not has_text:
            return ""  # the run goes on
        text = self._texts.decode(self._window[: self._run_start])
        return self._give(text, _num_finished(text))

    @property
    def holds_back(self) -> bool:
        """Some text of the tokens so far may be yet to come."""
        return not self._is_clean

    def flush(self) -> str:
        """What was held back: what comes next does not belong to it."""
        if self._is_clean:
            return ""
        self._run_start = None
        text = self._texts.decode(self._window)
        return self._give(text, len(text))

    def would_read(self, ids: Sequence[int]) -> str:
        """The whole text that these tokens would add after a `flush`."""
        before = len(self._texts.decode(self._window))
        return self._texts.decode([*self._window, *self._texts.audible(ids)])[before:]

    def _give(self, text: str, end: int) -> str:
        given = self._num_given or 0
        new = text[given:end]
        self._num_given = max(given, end)
        self._is_clean = self._run_start is None and 0 < self._num_given == len(text)
        if len(self._window) > _MAX_WINDOW and self._run_start is None:
            self._shorten(num_held=len(text) - self._num_given)
        return new

    def _shorten(self, num_held: int) -> None:
        window = self._window[-_NUM_CONTEXT:]
        text = self._texts.decode(window)
        # Without any text before it the next token would be taken for the first of all.
        if len(text) > num_held:
            self._window, self._num_given = window, len(text) - num_held


def _num_finished(text: str) -> int:
    """Characters that stay whatever follows: the last one may be the beginning of another."""
    return len(text) - text.endswith(_UNFINISHED)


def _byte_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The tokens that stand for one byte each, where the tokenizer has them."""
    if tokenizer.decoder is None or _BYTE_FALLBACK not in tokenizer.decoder.__getstate__():
        return frozenset()
    names = (text for byte in range(256) for text in (f"<0x{byte:02X}>", f"<0x{byte:02x}>"))
    return frozenset(token for name in names if (token := tokenizer.token_to_id(name)) is not None)


def _adds_alike(tokenizer: Tokenizer) -> bool:
    """Whether a token that comes after some text always adds the same: of decoders known to."""
    if tokenizer.decoder is None:
        return True
    decoder = json.loads(tokenizer.decoder.__getstate__())
    steps = decoder.get("decoders", [decoder])
    kinds = [step["type"] for step in steps]
    if kinds in (["WordPiece"], ["Metaspace"], ["ByteLevel"]):
        return True
    # Token by token up to where they are joined; then nothing but what stands first is changed.
    if "Fuse" not in kinds or any(step.get("stop", 0) for step in steps):
        return False
    place = kinds.index("Fuse")
    return {*kinds[:place]} <= {"Replace", "ByteFallback"} and kinds[place + 1 :] in ([], ["Strip"])
