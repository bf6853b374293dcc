"""Between text and token ids: a tokenizer with the tokens that mean something to the engine."""

from collections.abc import Sequence
from dataclasses import dataclass

from harnessapi.values import Markers
from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import DecodeStream

# Decoding looks back at a few tokens only: whether a space or the rest of a character is due.
_NUM_PRIMING_TOKENS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownWord:
    """A word that the vocabulary does not have; `position` counts words from 1."""

    word: str
    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A text as token ids; words outside the vocabulary stand there as the unknown token."""

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    unknown: tuple[UnknownWord, ...]


class TextStream:
    """Gives the text of tokens as they come: the pieces joined are the whole text.

    A token whose bytes are only the beginning of a character gives its text with the next one.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        priming = list(prompt_ids[-_NUM_PRIMING_TOKENS:])
        self._stream = DecodeStream(ids=priming, skip_special_tokens=False)

    def read(self, token: int) -> str:
        """The text that this token adds."""
        return self._stream.step(self._tokenizer, token) or ""


class Codec:
    """Encodes prompts and inserted text, decodes completions. Thread-safe; streams are not."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        eos_ids: frozenset[int],
        answer_id: int | None,
        markers: Markers | None,
    ) -> None:
        self.eos_ids = eos_ids
        # The token from which on a completion is the answer; None where the model has none.
        self.answer_id = answer_id
        # The words of the search channel; None where the model has none.
        self.markers = markers
        # The token that ends a query; none where the model has no search channel.
        end = None if markers is None else tokenizer.token_to_id(markers.end)
        self.search_end_ids = frozenset() if end is None else frozenset({end})
        self._tokenizer = tokenizer
        self._unknown_token = getattr(tokenizer.model, "unk_token", None)
        self._unknown_id = (
            tokenizer.token_to_id(self._unknown_token) if self._unknown_token else None
        )

    def encode(self, text: str) -> Encoded:
        """Token ids of the text as it stands; nothing is added at its ends or cut off."""
        # The batch call lets go of the interpreter lock, the single one does not.
        encoding = self._tokenizer.encode_batch([text], add_special_tokens=False)[0]
        return Encoded(
            ids=tuple(encoding.ids),
            tokens=tuple(encoding.tokens),
            unknown=self._find_unknown(text, encoding),
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text that a model sees in these ids, markers included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def stream(self, prompt_ids: Sequence[int]) -> TextStream:
        """The text of what follows these prompt ids."""
        return TextStream(self._tokenizer, prompt_ids)

    def _find_unknown(self, text: str, encoding: Encoding) -> tuple[UnknownWord, ...]:
        if self._unknown_id is None or self._unknown_id not in encoding.ids:
            return ()
        found = []
        for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            word = text[start:end]
            if token == self._unknown_id and word != self._unknown_token:
                found.append(UnknownWord(word=word, position=len(text[:start].split()) + 1))
        return tuple(found)
