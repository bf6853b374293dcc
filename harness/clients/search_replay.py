"""What a server inserted, checked by the same searches: the client knows all that was searched.

The transcript is fed to a search channel as the server fed its own. What the server inserted stays
in the text, so a search that disagrees counts once and does not spoil those after it.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from harnessapi.values import Markers, Outcome, Part

from harness.clients.completion import Completion, CompletionRequest, SearchCheck, SearchStep
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult

# Of the one completion that is checked at a time.
CONTEXT_ID: Final = "checked"
# Of a result so much is inserted at most (proto: max_inserted_tokens).
_MAX_RESULT_CHARACTERS: Final = 131_072
# What a limit of tokens may make of a character that it cuts in two.
_HALF_CHARACTER: Final = "\ufffd"
# Of a character.
_MAX_BYTES: Final = 4

# Makes a search; None: it would cost too much.
Search = Callable[[SearchRequest], SearchResult | None]


def check_searches(
    completion: Completion,
    request: CompletionRequest,
    markers: Markers,
    search: Search,
    *,
    max_inserted_tokens: int,
) -> SearchCheck:
    """Every search of a completion against one of our own, by the words that it inserted.

    `max_inserted_tokens`: where the server cuts what a search inserts. Once a search costs too
    much, those after it are not made either: each reads all that those before it have read.
    """
    replay = _Replay(completion, request, markers, search, max_inserted_tokens)
    found = list(replay.verdicts())
    num_checked = len(found) - found.count(None)
    return SearchCheck(
        num_checked=num_checked,
        num_disagreements=found.count(False) + replay.num_without_step,
        num_unchecked=len(completion.searches) - num_checked,
    )


class _Replay:
    """One completion; `verdicts` once."""

    def __init__(
        self,
        completion: Completion,
        request: CompletionRequest,
        markers: Markers,
        search: Search,
        max_inserted_tokens: int,
    ) -> None:
        # Insertions and queries that no step of the completion tells of.
        self.num_without_step = 0
        self._completion = completion
        self._prompt = request.prompt
        self._search = search
        self._max_inserted_tokens = max_inserted_tokens
        self._channel = _channel(request, markers)
        self._text = "".join(piece.text for piece in completion.transcript)
        self._inserted = _insertions(completion)

    def verdicts(self) -> Iterator[bool | None]:
        """Of each step whether it agrees; None: it cannot be told. Ends early where none can."""
        read = 0
        for step in self._completion.searches:
            if step.place is None:
                return
            due = self._channel.feed(self._text[read : step.place])
            # What came in one piece with the end marker stands before the result.
            self._channel.keep()
            inserted = self._inserted.pop(step.place, "")
            read = max(read, step.place + len(inserted))
            if due is None:
                yield False  # the model asked for nothing
                if self._channel.in_query:
                    return
            else:
                result = due if isinstance(due, SearchResult) else self._search(due)
                if result is None:
                    return
                yield self._agrees(self._channel.resolve(result), inserted, step)
            self._channel.inserted(inserted)
        due = self._channel.feed(self._text[read:])
        is_unanswered = due is not None and bool(self._channel.unread.strip())
        # At a limit no search is made for the last query.
        self.num_without_step = len(self._inserted) + (
            is_unanswered and not self._completion.is_truncated
        )

    def _agrees(self, expected: str, inserted: str, step: SearchStep) -> bool | None:
        if step.inserted_text not in inserted:
            return False
        words = inserted.split()
        expected_words = self._prompt.word_result(expected[:_MAX_RESULT_CHARACTERS]).split()
        if words == expected_words:
            return True
        if step.truncated and step.num_inserted_tokens == self._max_inserted_tokens:
            is_beginning = "".join(expected_words).startswith(
                "".join(words).rstrip(_HALF_CHARACTER)
            )
            # A token is a byte at least; a space before the first may be left out.
            has_tokens = _MAX_BYTES * (len(inserted) + 1) >= step.num_inserted_tokens
            return is_beginning and has_tokens
        # With a result the detail says which of its words the model cannot read: others stand
        # in their place.
        return None if step.outcome == Outcome.FOUND and step.detail else False


def _channel(request: CompletionRequest, markers: Markers) -> SearchChannel:
    """As the server is asked for it; see `_to_wire` of the gRPC client."""
    prompt = request.prompt
    if request.mode is None:
        raise ValueError("a completion without a search channel has no searches to check")
    if prompt.failed is not None:
        markers = replace(markers, failed=prompt.failed)
    return SearchChannel(
        context_id=CONTEXT_ID,
        prompt_text=prompt.text if prompt.searched is None else prompt.searched,
        markers=markers,
        mode=request.mode,
        limits=SearchLimits(max_searches=request.most_searches),
        abbreviations=request.abbreviations,
    )


def _insertions(completion: Completion) -> dict[int, str]:
    """By their place in the whole text."""
    found: dict[int, str] = {}
    place = 0
    for piece in completion.transcript:
        if piece.part == Part.INSERTED:
            found[place] = piece.text
        place += len(piece.text)
    return found
