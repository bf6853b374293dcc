"""One completion of an external endpoint: its turns, and the search channel between them.

A server knows nothing of the channel. It is told to stop at the end marker; the search is made, and
it is asked to go on: after the text so far (completions), or with the result as the user's next
message (chat, where no message can be gone on with in a way that all servers know).
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Final

from harnessapi.values import FinishReason, Markers, Part

from harness.clients.completion import (
    Completion,
    CompletionRequest,
    CompletionTimes,
    SearchStep,
    TextPiece,
)
from harness.clients.conversation import conversation
from harness.clients.incoming import Mask
from harness.clients.openai.turn import Turn
from harness.endpoints.external import Api
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult

MARKERS: Final = Markers()
Search = SearchRequest | SearchResult


class Dialogue:
    """`begin_turn`, `feed` what comes in, `end_turn`; where a search is `due`, `insert` its result.

    A turn that fails is begun again: it leaves nothing behind before `end_turn`.
    """

    def __init__(
        self, request: CompletionRequest, api: Api, mask: Mask, *, system_prompt: str | None = None
    ) -> None:
        self.finish_reason: str | None = None
        # The search to be made before the next turn.
        self.due: Search | None = None
        # The end of what has come of the turn that is written now.
        self.recent: Callable[[], str] = str
        self.ttft_ms: float | None = None
        # Spent on attempts so far.
        self.total_ms = 0.0
        self.context_id = uuid.uuid4().hex
        self.repeat = request.repeat
        # Of the first turn, where whoever has it written makes the tokens.
        self.prompt_token_ids: tuple[int, ...] = ()
        self._prompt = request.prompt
        self._mode = request.mode
        self._api = api
        # A server may spell out a key piece by piece: it is looked for in whole texts.
        self._mask = mask
        self._num_left = request.max_new_tokens
        self._channel = self._make_channel(request)
        # What the channel becomes with the turn that is written now.
        self._reading = self._channel
        self._text = request.prompt.text
        messages = conversation(request.prompt, api, system_prompt, results_are_messages=True)
        self._messages = [message._asdict() for message in messages]
        self._pieces: list[TextPiece] = []
        self._searches: list[SearchStep] = []
        self._turns: list[Turn] = []
        self._num_inserted = 0
        self._has_begun = False

    def _make_channel(self, request: CompletionRequest) -> SearchChannel | None:
        if request.mode is None:
            return None
        prompt = request.prompt
        return SearchChannel(
            context_id=self.context_id,
            prompt_text=prompt.text if prompt.searched is None else prompt.searched,
            markers=MARKERS,
            mode=request.mode,
            limits=_limits(request),
            abbreviations=request.abbreviations,
        )

    @property
    def num_turns(self) -> int:
        """Turns that ended."""
        return len(self._turns)

    @property
    def has_searched(self) -> bool:
        """A search was made, or tried."""
        return bool(self._searches) or self.due is not None

    def body(self) -> dict[str, Any]:
        """What the next turn's request says about the text."""
        stops = [] if self._channel is None else [MARKERS.end]
        if self._api.is_chat:
            body: dict[str, Any] = {"messages": self._messages}
        else:
            body = {"prompt": self._text}
            stops += self._prompt.stops
        return {**body, "max_tokens": self._num_left, **({"stop": stops} if stops else {})}

    def begin_turn(self) -> Turn:
        """The turn that is written now, or once more."""
        if not self._turns:
            self.ttft_ms = None
        self._has_begun = False
        self._reading = deepcopy(self._channel)
        return Turn(self._num_left)

    def feed(self, text: str) -> Search | None:
        """The next piece of the turn's text, through the channel; see SearchChannel.feed."""
        if self._reading is None or not text:
            return None
        if not self._has_begun:
            self._has_begun = True
            text = self._joined("", text)
        return self._reading.feed(text)

    def end_turn(self, turn: Turn, search: Search | None) -> None:
        """Then a search is `due`, or there is a finish reason.

        `search`: where the server sent the end marker itself; one that stops at it does not send
        it. Raises TransientError for a turn without an end.
        """
        turn.end()
        text, thought = turn.text, turn.reasoning
        channel, goes_on = self._reading, False
        if search is not None and channel is not None:
            # What it wrote without the result is dropped.
            text = text.removesuffix(channel.unread)
        elif not turn.is_truncated and channel is not None:
            if channel.in_query:
                # Inside a query a stop string is none, where the server says that it was one.
                goes_on = turn.stopped_at in self._prompt.stops
                end = turn.stopped_at if goes_on else MARKERS.end
                text = self._joined(text, end)
                search = self.feed(self._joined("", end))
            elif _ends_in_query(turn):
                # The query is read where it was written, and goes back without the thought.
                thought, start, query = thought.rpartition(MARKERS.start)
                text = self._joined(start + query, MARKERS.end)
                search = self.feed(text)
        # Whether at the end of the text or at a stop string, the API does not say.
        self.finish_reason = turn.finish_reason if search is None and not goes_on else None
        if search is None and not goes_on and self._api is Api.COMPLETIONS:
            cut = _before_stops(text, self._prompt.stops)
            if cut != text:
                # A server that does not take stop strings went on.
                text, self.finish_reason = cut, FinishReason.STOP
        self.due = search
        self._channel = channel
        self._num_left -= max(turn.num_generated, goes_on)
        if goes_on and self._num_left <= 0:
            self.finish_reason = FinishReason.LENGTH
        self._turns.append(turn)
        written = [(Part.ANSWER, text)] if search is None else _query_pieces(text)
        pieces = [(Part.REASONING, thought), *written]
        self._pieces += [TextPiece(part=p, text=self._mask(t)) for p, t in pieces if t]
        self._text = self._joined(self._text, text)
        self._messages.append({"role": "assistant", "content": text})

    def insert(self, result: SearchResult, elapsed_ms: float) -> None:
        """Gives the model its result; without tokens left the completion ends here."""
        if self._channel is None:
            raise RuntimeError("a result without a channel")
        found = self._channel.resolve(result)
        inserted = self._prompt.word_result(found)
        self._channel.inserted(self._joined("", inserted))
        self._pieces.append(TextPiece(part=Part.INSERTED, text=self._mask(inserted)))
        self._num_inserted += len(inserted.split())
        self._searches.append(
            SearchStep(
                query=self._mask(self._channel.query),
                expanded_query=self._channel.expanded_query,
                mode=self._mode.value if self._mode else "",
                outcome=result.outcome.value,
                inserted_text=self._mask(found),
                detail=self._mask(result.detail),
                elapsed_ms=elapsed_ms,
            )
        )
        self._text = self._joined(self._text, inserted)
        self._messages.append({"role": "user", "content": inserted.strip()})
        self.due = None
        if self._num_left <= 0:
            self.finish_reason = FinishReason.LENGTH

    def end_full(self) -> None:
        """The server refuses the dialogue for its length: the model would have gone on."""
        self.finish_reason = FinishReason.CONTEXT_FULL

    def completion(self) -> Completion:
        """Everything, once there is a finish reason."""
        if self.finish_reason is None:
            raise RuntimeError("the completion is not finished")
        return Completion(
            prompt_token_ids=self.prompt_token_ids,
            transcript=tuple(self._pieces),
            searches=tuple(self._searches),
            finish_reason=self.finish_reason,
            num_prompt_tokens=self._turns[0].num_prompt,
            num_generated_tokens=sum(turn.num_generated for turn in self._turns),
            num_inserted_tokens=self._num_inserted,
            num_searches=len(self._searches),
            are_counts_estimated=any(turn.is_estimated for turn in self._turns),
            times=CompletionTimes(
                ttft_ms=self.ttft_ms,
                total_ms=self.total_ms,
                retrieval_ms=sum((search.elapsed_ms for search in self._searches), start=0.0),
                token_intervals=self._intervals(),
            ),
            usage=tuple(turn.usage for turn in self._turns),
            reply_models=_named(turn.model for turn in self._turns),
            system_fingerprints=_named(turn.fingerprint for turn in self._turns),
        )

    def _intervals(self) -> dict[int, int]:
        """Of all turns; the tokens of a turn are spread evenly over its pieces."""
        found: Counter[int] = Counter()
        for turn in self._turns:
            found.update(turn.intervals.histogram(turn.num_generated))
        return dict(found)

    def _joined(self, left: str, right: str) -> str:
        """Words are joined by one space; written language joins itself."""
        joint = self._prompt.joint
        return f"{left.rstrip(joint)}{joint}{right.lstrip(joint)}" if joint else left + right


def _limits(request: CompletionRequest) -> SearchLimits:
    most = request.max_searches
    return SearchLimits() if most is None else SearchLimits(max_searches=most)


def _ends_in_query(turn: Turn) -> bool:
    """The server stopped at the end marker while it took what came for reasoning."""
    _, start, query = turn.reasoning.rpartition(MARKERS.start)
    return bool(start) and MARKERS.end not in query and not turn.text.strip()


def _query_pieces(text: str) -> list[tuple[Part, str]]:
    before, marker, query = text.rpartition(MARKERS.start)
    return [(Part.ANSWER, before), (Part.QUERY, marker + query)]


def _named(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _before_stops(text: str, stops: Iterable[str]) -> str:
    """What stands before the first of the stop strings."""
    return min((text.partition(stop)[0] for stop in stops), key=len, default=text)
