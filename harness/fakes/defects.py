"""The table of broken servers: each breaks one promise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.fakes import ways_to_break as ways
from harness.fakes.quirk import Quirk

_LARGE: Final = 32 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Defect:
    """What it does, in a line, and the promise that this breaks."""

    promise: str
    summary: str
    quirk: Quirk


def _defect(promise: str, summary: str, **quirk: Any) -> Defect:
    return Defect(promise=promise, summary=summary, quirk=Quirk(**quirk))


DEFECTS: Final[Mapping[str, Defect]] = {
    "unhealthy": _defect("health", "says NOT_SERVING", is_serving=False),
    "no-get-model": _defect("GetModel", "has no such method", missing="GetModel"),
    "unreadable-model": _defect("GetModel", "answers with mere bytes", unreadable="GetModel"),
    "no-digest": _defect(
        "model-fields",
        "leaves checkpoint_digest out",
        describe=ways.setting("checkpoint_digest", ""),
    ),
    "no-family": _defect("model-fields", "leaves family out", describe=ways.setting("family", 0)),
    "other-digest": _defect("model-steady", "another digest each time", describe=ways.other_digest),
    "no-tokenize": _defect("Tokenize", "has no such method", missing="Tokenize"),
    "unreadable-tokens": _defect("Tokenize", "answers with mere bytes", unreadable="Tokenize"),
    "no-generate": _defect("Generate", "has no such method", missing="Generate"),
    "unreadable-stream": _defect("Generate", "answers with mere bytes", unreadable="Generate"),
    "endless": _defect("Generate", "sends its end for ever", say=ways.endless),
    "no-end": _defect("event-order", "ends without Finished", say=ways.unended),
    "two-ends": _defect("event-order", "sends Finished twice", say=ways.ended_twice),
    "no-channel": _defect(
        "channels",
        "leaves the channel of its Deltas out",
        say=ways.changed("delta", ways.no_channel),
    ),
    "miscounts": _defect(
        "counts",
        "counts one token more than it wrote",
        say=ways.changed("finished", ways.miscounted),
    ),
    "no-defaults": _defect(
        "defaults",
        "does not say what holds by default",
        say=ways.changed("started", ways.no_default),
    ),
    "forgets-seed": _defect(
        "options", "says seed 0 whatever it was", say=ways.changed("started", ways.forgotten_seed)
    ),
    "not-greedy": _defect("greedy", "draws at temperature 0", token=ways.not_greedy),
    "neighbours": _defect(
        "at-once",
        "writes something else beside two others",
        token=ways.one_in_a_crowd,
        pause_s=0.05,
    ),
    "ignores-seed": _defect("seed", "draws anew with the same seed", token=ways.drawn_anew),
    "too-few-tokens": _defect(
        "tokens",
        "a token is missing beside the ids",
        tokenize=lambda _request, answer: answer.tokens.pop(),
    ),
    "other-ids": _defect(
        "prompt-ids", "Tokenize adds a token", tokenize=ways.tokenized_with("text")
    ),
    "adds-bos": _defect("token-ids", "adds a token to token_ids", hear=ways.prefixed),
    "other-chat": _defect(
        "messages", "Tokenize words messages otherwise", tokenize=ways.tokenized_with("messages")
    ),
    "one-more": _defect("length", "writes a token more than it may", hear=ways.one_more),
    "ends-anyway": _defect(
        "ignore-eos",
        "ends with the end token all the same",
        hear=lambda request: request.stopping.ClearField("ignore_eos"),
    ),
    "uncut": _defect(
        "max-new-tokens",
        "does not say that its limit holds",
        say=ways.changed("started", ways.uncut),
    ),
    "ignores-stop": _defect("stop", "takes no stop strings", hear=ways.no_stop),
    "too-many-slots": _defect(
        "slots", "says one slot more than it has", describe=ways.too_many_slots
    ),
    "leaks-slots": _defect("cancel", "keeps the slot of who hung up", leak="cancel"),
    "no-deadlines": _defect(
        "deadline", "fails where there is a deadline", refuse=ways.no_deadlines
    ),
    "leaks-late": _defect("deadline", "keeps the slot at the deadline", leak="deadline"),
    "no-search-options": _defect(
        "search-options",
        "does not say which search options hold",
        say=ways.changed("started", lambda started, _: started.ClearField("retrieval")),
    ),
    "not-inserted": _defect("search-steps", "does not send what it inserts", say=ways.uninserted),
    "more-searches": _defect(
        "search-counts",
        "counts more searches than it made",
        say=ways.changed("finished", ways.more_searches),
    ),
    "makes-it-up": _defect(
        "search-found",
        "says that it found something else",
        say=ways.changed("retrieval_step", ways.setting("inserted_text", "bob dik kim")),
    ),
    "takes-no-pattern": _defect("search-invalid", "a wrong pattern is not found", say=ways.early),
    "endless-search": _defect("search-limit", "takes 0 for no limit", hear=ways.unlimited),
    "searches-prompt": _defect(
        "search-text",
        "searches the prompt, and says that it takes another text",
        hear=ways.searched_prompt,
    ),
    "uncut-result": _defect("search-cut", "inserts the whole result", hear=ways.uncut_result),
    "positive": _defect(
        "log-probs", "says likelihoods of over 1", say=ways.changed("delta", ways.positive)
    ),
    "unsorted": _defect(
        "log-probs", "the likeliest last", say=ways.changed("delta", ways.unsorted)
    ),
    "unreadable-score": _defect("Score", "answers with mere bytes", unreadable="Score"),
    "no-score": _defect("Score", "offers a method that it has not", missing="Score"),
    "other-score": _defect("score-agrees", "scores otherwise than it writes", score=ways.shifted),
    "any-temperature": _defect(
        "refuses-temperature", "takes a temperature of -1", unchecked="temperature"
    ),
    "crashes": _defect(
        "refuses-top-p",
        "UNKNOWN where top_p is 2",
        refuse=ways.crash_at(lambda request: request.sampling.top_p > 1),
    ),
    "no-tokens": _defect("refuses-no-tokens", "takes 0 tokens", unchecked="max_new_tokens"),
    "empty-stop": _defect("refuses-empty-stop", "takes an empty stop string", unchecked="stop"),
    "no-prompt": _defect("refuses-no-prompt", "goes on with nothing", unchecked="prompt"),
    "empty-prompt": _defect("refuses-empty-prompt", "takes no ids", unchecked="empty"),
    "any-id": _defect("refuses-unknown-id", "reads an unknown id", unchecked="unknown"),
    "any-length": _defect("refuses-long-prompt", "reads too many ids", unchecked="long_ids"),
    "any-text": _defect("refuses-long-text", "reads too long a text", unchecked="long_text"),
    "any-size": _defect(
        "refuses-large-message",
        "UNKNOWN for a message of 64 MiB",
        max_request_bytes=-1,
        refuse=ways.crash_at(lambda request: request.ByteSize() > _LARGE),
    ),
    "searches-anyway": _defect(
        "refuses-search",
        "takes search options without a search channel",
        describe=lambda model: model.ClearField("search_channel"),
    ),
    "any-log-probs": _defect(
        "refuses-log-probs", "more likeliest than it says", unchecked="top_log_probs"
    ),
    "sulks": _defect("goes-on", "writes something else after refusals", token=ways.after_refusals),
}
