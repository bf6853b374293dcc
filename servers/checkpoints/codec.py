"""Between text and token ids: a tokenizer with the tokens that mean something to the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harnessapi.text.chat_template import ChatTemplate, TemplateError
from harnessapi.text.text_stream import TextStream, TokenTexts
from harnessapi.values import Markers
from tokenizers import Encoding, Tokenizer

from harness_servers.errors import InvalidRequestError

# Longer texts are tokenized beside the event loop. The worst of this many characters (rare ones,
# over byte-level BPE) took 5 ms of one core; the way to a thread and back takes 0.1 ms.
MAX_CHARACTERS_ON_LOOP: Final = 1_000
# A tokenizer that gives this back reads written language: our prompts, and what models reply.
_LANGUAGE: Final = (
    "[Problem 1]\nContext: bab dok ; Fem 42 ;\nQuestion: is `<search> (\\S+) </search>` it?\n\n"
    "Answer: !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_"
    "`abcdefghijklmnopqrstuvwxyz{|}~"
)
_NATURAL: Final = "natural"
# Of unknown words: an error names one, and there may be as many as tokens.
_MAX_NAMED_WORDS: Final = 100
# Of the symbolic style: each begins a question, and says how it is to be answered.
QUESTION_MARKS: Final = ("<direct>", "<cot>", "<regex>", "<dense>")
# What stands before a text that is tokenized as the middle of one.
_BEFORE: Final = "\n"


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
    # The first of them, and how many there are.
    unknown: tuple[UnknownWord, ...] = ()
    num_unknown: int = 0


class Codec:
    """Encodes prompts and inserted text, decodes completions. Thread-safe; streams are not.

    A tokenizer whose checkpoint names no words of its own (`answer_id`, `markers`) and that reads
    written language has the search channel of everybody: its markers are text, in whatever tokens.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        eos_ids: frozenset[int],
        answer_id: int | None,
        markers: Markers | None,
        chat_template: ChatTemplate | None = None,
    ) -> None:
        # What a file says of cutting and filling up is for training: a prompt is read as it is.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.eos_ids = eos_ids
        # The token from which on a completion is the answer; None where the model has none.
        self.answer_id = answer_id
        self.chat_template = chat_template
        reads_language = _reads_language(tokenizer)
        # What it can be asked in, as far as the tokenizer tells.
        self.styles = (_NATURAL,) if reads_language else ()
        has_own_words = answer_id is not None or markers is not None
        # The words of the search channel; None where the model has none.
        self.markers = markers
        if not has_own_words and reads_language:
            self.markers = Markers()
        # The token that ends a query; none where markers are text, or there is no search channel.
        self.search_end_ids = _end_ids(tokenizer, markers)
        self._tokenizer = tokenizer
        marks = (tokenizer.token_to_id(mark) for mark in QUESTION_MARKS)
        # The tokens that begin a question; none where it has no such words.
        self.question_ids = frozenset(mark for mark in marks if mark is not None)
        # The words of our models are special tokens; those of others are for nobody to see, but for
        # markers that were made such.
        shown = () if self.markers is None else (self.markers.start, self.markers.end)
        self._texts = TokenTexts(tokenizer, shows_specials=has_own_words, shown=shown)
        # The tokens that may end one: where the marker is text, all that have its last character.
        self.query_end_ids = self.search_end_ids
        if self.markers is not None and not self.search_end_ids:
            self.query_end_ids = _ids_with(tokenizer, self.markers.end[-1])
        self._unknown_token = getattr(tokenizer.model, "unk_token", None)
        self._unknown_id = (
            tokenizer.token_to_id(self._unknown_token) if self._unknown_token else None
        )

    def encode_prompt(self, text: str, max_tokens: int | None = None) -> Encoded:
        """Token ids of a prompt, with what the tokenizer puts around a text (a BOS, say).

        Raises InvalidRequestError where they are more than `max_tokens`.
        """
        return self._encode(text, adds_specials=True, max_tokens=max_tokens)

    def encode_chat(
        self, messages: Sequence[Mapping[str, str]], max_tokens: int | None = None
    ) -> Encoded:
        """Token ids of a conversation up to where the reply begins; its template has the BOS.

        Raises InvalidRequestError without a template, for what the template refuses, and where they
        are more than `max_tokens`. Takes as long as the template does; see ChatTemplate.
        """
        if self.chat_template is None:
            raise InvalidRequestError(
                "the prompt is a conversation; the checkpoint has no chat template: send a text "
                '(api = "completions" in endpoints.toml)'
            )
        try:
            text = self.chat_template.render(messages)
        except TemplateError as error:
            raise InvalidRequestError(str(error)) from error
        return self._encode(text, adds_specials=False, max_tokens=max_tokens)

    def encode(self, text: str) -> Encoded:
        """Token ids of the text as it stands; nothing is added at its ends or cut off."""
        return self._encode(text, adds_specials=False)

    def encode_insertion(self, text: str, stream: TextStream) -> Encoded:
        """Token ids that add this text to a flushed stream, where the tokenizer has such.

        Some tokenizers put a space before all that they read: that is left out again.
        """
        encoded = self.encode(text)
        if self.search_end_ids:
            return encoded  # words, joined by their tokenizer
        if stream.would_read(encoded.ids) == text:
            return encoded
        whole = self._tokenizer.encode(_BEFORE + text, add_special_tokens=False)
        first = next(
            (i for i, (start, _) in enumerate(whole.offsets) if start >= len(_BEFORE)), None
        )
        if first is not None and stream.would_read(whole.ids[first:]) == text:
            return Encoded(ids=tuple(whole.ids[first:]), tokens=tuple(whole.tokens[first:]))
        return encoded

    def encode_continuation(self, text: str) -> Encoded:
        """Token ids of a text that goes on after another, whichever that is.

        What the tokenizer gives for it in the middle of a text: no BOS, no space of its own before
        it. Nothing is merged over the border: a prompt stays as it is whatever follows.
        """
        stream = self.stream(self.encode(_BEFORE).ids)
        stream.flush()
        return self.encode_insertion(text, stream)

    def token_name(self, token: int) -> str:
        """As the vocabulary has it; empty for an id that is no token."""
        return self._tokenizer.id_to_token(token) or ""

    def decode(self, ids: Sequence[int]) -> str:
        """The text that a model sees in these ids, markers included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def stream(self, prompt_ids: Sequence[int]) -> TextStream:
        """The text of what follows these prompt ids."""
        return TextStream(self._texts, prompt_ids)

    def _encode(self, text: str, *, adds_specials: bool, max_tokens: int | None = None) -> Encoded:
        # The batch call lets go of the interpreter lock, the single one does not.
        encoding = self._tokenizer.encode_batch([text], add_special_tokens=adds_specials)[0]
        if max_tokens is not None and len(encoding) > max_tokens:
            raise InvalidRequestError(
                f"the prompt has {len(encoding)} tokens; at most {max_tokens} are taken"
            )
        ids = tuple(encoding.ids)
        places = self._unknown_places(text, ids, encoding)
        counter = _WordCounter(text)
        named = [
            UnknownWord(word=text[start:end], position=counter.num_before(start) + 1)
            for start, end in places[:_MAX_NAMED_WORDS]
        ]
        return Encoded(
            ids=ids,
            tokens=tuple(encoding.tokens),
            unknown=tuple(named),
            num_unknown=len(places),
        )

    def _unknown_places(
        self, text: str, ids: tuple[int, ...], encoding: Encoding
    ) -> list[tuple[int, int]]:
        """Where unknown words begin and end."""
        if self._unknown_id is None or self._unknown_id not in ids:
            return []
        # One place after the other: a list of all of them would hold the interpreter lock.
        places = (encoding.token_to_chars(i) for i, t in enumerate(ids) if t == self._unknown_id)
        return [at for at in places if at and text[at[0] : at[1]] != self._unknown_token]


class _WordCounter:
    """Counts the words that begin before places of a text, each place after the one before it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._num_words = 0

    def num_before(self, place: int) -> int:
        """Reads on from the last place: all of them together read the text once."""
        before = self._text[max(self._place - 1, 0) : self._place]
        between = self._text[self._place : place]
        # A word that began before the last place was counted there.
        goes_on = before.strip() != "" and between[:1].strip() != ""
        self._num_words += len(between.split()) - goes_on
        self._place = place
        return self._num_words


def _end_ids(tokenizer: Tokenizer, markers: Markers | None) -> frozenset[int]:
    if markers is None or tokenizer.token_to_id(markers.start) is None:
        return frozenset()
    end = tokenizer.token_to_id(markers.end)
    return frozenset() if end is None else frozenset({end})


def _ids_with(tokenizer: Tokenizer, character: str) -> frozenset[int]:
    """Tokens in whose text the character may be: also those that have a part of its bytes."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    # ASCII stands for itself in every vocabulary; not all that has it there has it in its text.
    ids = [i for name, i in vocabulary.items() if character in name or not character.isascii()]
    texts = tokenizer.decode_batch([[i] for i in ids], skip_special_tokens=False)
    signs = {character} if character.isascii() else {character, "\N{REPLACEMENT CHARACTER}"}
    return frozenset(i for i, text in zip(ids, texts, strict=True) if signs & {*text})


def _reads_language(tokenizer: Tokenizer) -> bool:
    """Whether a text comes back as it was; a space may be put before it, and not shown."""
    ids = tokenizer.encode(_LANGUAGE, add_special_tokens=False).ids
    text: str = tokenizer.decode(ids, skip_special_tokens=False)
    return text.removeprefix(" ") == _LANGUAGE
