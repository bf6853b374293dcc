"""A tokenizer on this side of the wire: prompts as token ids, and the text of the ids that come.

The only module of the client that imports tokenizers.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harnessapi.text.chat_template import TemplateError
from harnessapi.text.template_files import read_chat_template, template_files
from harnessapi.text.text_stream import TextStream, TokenTexts
from harnessapi.values import Markers
from tokenizers import Encoding, Tokenizer

from harness.clients.faults import RefusedError
from harness.errors import InputError

_TOKENIZER: Final = "tokenizer.json"
_MARKERS: Final = Markers()
_REFUSED: Final = "NO_TOKENS"


class PromptTokens:
    """Of one folder. Thread-safe; its streams are not."""

    def __init__(self, folder: Path, *, shows_specials: bool) -> None:
        """`shows_specials`: special tokens are text, as the words of our checkpoints are.

        Raises InputError for a folder without a tokenizer.json, or with files that are none.
        """
        path = folder / _TOKENIZER
        if not path.is_file():
            raise InputError(
                f"tokenizer: there is no {_TOKENIZER} in {folder}; transformers writes one: "
                "AutoTokenizer.from_pretrained(MODEL).save_pretrained(FOLDER)"
            )
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise InputError(f"tokenizer: {path} is none: {error}") from None
        try:
            self._template = read_chat_template(folder)
        except TemplateError as error:
            raise InputError(f"tokenizer: {folder}: {error}") from None
        # What a file says of cutting and filling up is for training: a prompt is read as it is.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._texts = TokenTexts(
            tokenizer, shows_specials=shows_specials, shown=(_MARKERS.start, _MARKERS.end)
        )
        self._unknown = getattr(tokenizer.model, "unk_token", None)
        self.has_chat_template = self._template is not None
        known = tokenizer.get_vocab(with_added_tokens=True).values()
        # One more than the highest id.
        self.vocabulary_size = max(known, default=-1) + 1
        self.digest = _digest([path, *template_files(folder)])

    def encode(self, text: str) -> tuple[int, ...]:
        """The ids of a text, with what the tokenizer puts around one (a BOS, say).

        Raises RefusedError for a word that it does not know.
        """
        return self._encode(text, adds_specials=True)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
        """The ids of a conversation up to where the reply begins.

        Blocks for as long as the template takes. Raises RefusedError for what it refuses, and
        without one.
        """
        if self._template is None:
            raise RefusedError(
                _REFUSED,
                'api = "chat" needs a chat template, and the folder of the tokenizer has none: '
                'api = "completions" sends a text',
            )
        try:
            text = self._template.render(messages)
        except TemplateError as error:
            raise RefusedError(_REFUSED, str(error), is_of_one=True) from None
        return self._encode(text, adds_specials=False)

    def stream(self, prompt_ids: Sequence[int]) -> TextStream:
        """The text of what follows these ids."""
        return TextStream(self._texts, prompt_ids)

    def _encode(self, text: str, *, adds_specials: bool) -> tuple[int, ...]:
        # The batch call lets go of the interpreter lock, the single one does not.
        [encoding] = self._tokenizer.encode_batch([text], add_special_tokens=adds_specials)
        word = self._unknown_word(text, encoding)
        if word is not None:
            raise RefusedError(
                _REFUSED, f"the tokenizer does not know the word {word!r}", is_of_one=True
            )
        return tuple(encoding.ids)

    def _unknown_word(self, text: str, encoding: Encoding) -> str | None:
        """The first that is read as the unknown token without being it."""
        if self._unknown is None or self._unknown not in encoding.tokens:
            return None
        places = zip(encoding.tokens, encoding.offsets, strict=True)
        words = (text[start:end] for token, (start, end) in places if token == self._unknown)
        return next((word for word in words if word not in ("", self._unknown)), None)


def _digest(paths: Sequence[Path]) -> str:
    """SHA-256 over the files' own digests: the same as of a server of ours with such a folder."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
