"""The bodies of requests as types, and what is said of one that cannot be read."""

import difflib
import re
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from harness.openai_server.errors import ApiError, refused

# Fields of the API that cannot be honoured, with the values that ask for nothing.
_REFUSED: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "best_of": (1,),
    "suffix": ("",),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
# Fields of the API that say nothing of the text.
_IGNORED: Final = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
_AT: Final = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_Natural = Annotated[int, Meta(ge=0, lt=2**32)]
_Positive = Annotated[int, Meta(ge=1, lt=2**32)]


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A field that is not there would be obeyed in silence, or not at all."""


class StreamOptions(_Strict, frozen=True, kw_only=True):
    """`include_obfuscation` is about the length of chunks: there is none."""

    include_usage: bool = False
    include_obfuscation: bool = False


class QueryAbbreviation(_Strict, frozen=True, kw_only=True):
    """See Abbreviation of the wire."""

    query: str
    pattern: str


class Recall(_Strict, frozen=True, kw_only=True):
    """Ours: RetrievalOptions of the wire, under its names; None: as it has it by itself."""

    mode: Literal["regex", "dense", "none"] | None = None
    max_searches: _Natural | None = None
    max_inserted_tokens: _Natural | None = None
    top_k: _Natural | None = None
    abbreviations: tuple[QueryAbbreviation, ...] = ()
    searched_text: str | None = None
    result_prefix: str | None = None
    result_suffix: str | None = None
    failed_text: str | None = None


class _Body(_Strict, frozen=True, kw_only=True):
    """What both kinds of requests have; None: as the endpoint has it."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: _Natural | None = None
    max_completion_tokens: _Natural | None = None
    temperature: Annotated[float, Meta(ge=0)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    stop: str | tuple[str, ...] = ()
    # Ours, as vLLM has it.
    top_k: _Natural | None = None
    recall: Recall = Recall()

    @property
    def token_limit(self) -> int | None:
        """Of the completion. Raises ApiError where its two names say different things."""
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise refused("max_completion_tokens", "it is not what max_tokens says")
        return next(iter(limits), None)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(_Body, frozen=True, kw_only=True):
    """POST /v1/completions."""

    # A text, or its token ids, or a list of texts, or of token ids.
    prompt: str | tuple[str | _Natural | tuple[_Natural, ...], ...]
    echo: bool = False
    logprobs: _Natural | None = None

    @property
    def prompts(self) -> tuple[str | tuple[int, ...], ...]:
        """One for each choice. Raises ApiError."""
        if isinstance(self.prompt, str):
            return (self.prompt,)
        if not self.prompt:
            raise refused("prompt", "it is an empty list")
        if all(isinstance(one, int) for one in self.prompt):
            return (self.prompt,)  # type: ignore[return-value]
        kinds = {type(one) for one in self.prompt}
        if len(kinds) > 1:
            raise refused("prompt", "a list holds texts, token ids or lists of token ids, not both")
        return self.prompt  # type: ignore[return-value]


class TextPart(_Strict, frozen=True, kw_only=True):
    """Of a message whose content is a list."""

    type: Literal["text"]
    text: str


class ChatMessage(_Strict, frozen=True, kw_only=True):
    """One message; who wrote it is the chat template's business."""

    role: Annotated[str, Meta(min_length=1)]
    content: str | tuple[TextPart, ...]
    name: str | None = None
    # Of a reply of ours that is sent back; the template words the content.
    reasoning_content: str | None = None
    annotations: tuple[Any, ...] = ()

    @property
    def text(self) -> str:
        """Its parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatBody(_Body, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[tuple[ChatMessage, ...], Meta(min_length=1)]
    logprobs: bool = False
    top_logprobs: _Natural | None = None


_AnyBody = TypeVar("_AnyBody", CompletionBody, ChatBody)


def read_body(data: bytes, kind: type[_AnyBody]) -> _AnyBody:
    """Raises ApiError that names the field: wrong, of no use here, or unknown."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the body is no JSON object: {error}", code="invalid_json") from None
    for name, neutral in _REFUSED.items():
        value = fields.pop(name, None)
        if value is not None and not any(_is_same(value, one) for one in neutral):
            raise ApiError(
                400,
                f"{name}: this server cannot do it; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    told = {name: value for name, value in _told(fields).items() if name not in _IGNORED}
    if isinstance(told.get("messages"), list):
        told["messages"] = [_told(message) for message in told["messages"]]
    try:
        return msgspec.convert(told, kind)
    except msgspec.ValidationError as error:
        raise _explained(str(error), kind) from None


def _told(fields: Any) -> Any:
    """Without what is null: as if it were not there."""
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if value is not None}


def _is_same(value: Any, other: Any) -> bool:
    """True is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _explained(said: str, kind: type[_AnyBody]) -> ApiError:
    """The library's message, with the field before it and not behind."""
    found = _AT.fullmatch(said)
    what, where = (found["what"], found["where"]) if found else (said, None)
    unknown = _UNKNOWN.fullmatch(what)
    if unknown is not None:
        name = f"{where}.{unknown['name']}" if where else unknown["name"]
        near = difflib.get_close_matches(name, kind.__struct_fields__, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return ApiError(400, f"{name}: no such field{hint}", param=name, code="unknown_parameter")
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing is not None:
        name = f"{where}.{missing[1]}" if where else missing[1]
        return refused(name, "it is missing")
    return refused(where, what) if where else ApiError(400, what)
