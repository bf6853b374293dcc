"""One completion of an external endpoint: its turns, and the search channel between them.

A server knows nothing of the channel. It is told to stop at the end marker; the search is made, and
it is asked to go on: after the text so far (completions), or with the result as the user's next
message (chat, where no message can be gone on with in a way that all servers know).
"""

import uuid
from typing import Any, Final

from harnessapi.values import FinishReason, Markers, Part

from harness.clients.completion import (
    Completion,
    CompletionRequest,
    CompletionTimes,
    SearchStep,
    TextPiece,
)
from harness.clients.openai.turn import Turn
from harness.endpoints.external import Api
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult

MARKERS: Final = Markers()


class Dialogue:
    """`feed` what comes in; at the end of a turn `end_turn`; after a search `insert`."""

    def __init__(self, request: CompletionRequest, api: Api) -> None:
        self.finish_reason: FinishReason | None = None
        self.ttft_ms: float | None = None
        self.context_id = uuid.uuid4().hex
        self._prompt = request.prompt
        self._api = api
        self._num_left = request.max_new_tokens
        self._channel = self._make_channel(request)
        self._text = request.prompt.text
        self._messages = [{"role": "user", "content": self._text}]
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
            limits=SearchLimits(),
            abbreviations=request.abbreviations,
        )

    @property
    def num_searches(self) -> int:
        """Searches so far."""
        return len(self._searches)

    def body(self) -> dict[str, Any]:
        """What the next turn's request says about the text."""
        stops = [] if self._channel is None else [MARKERS.end]
        if self._api is Api.CHAT:
            body: dict[str, Any] = {"messages": self._messages}
        else:
            body = {"prompt": self._text}
            stops += self._prompt.stops
        return {**body, "max_tokens": self._num_left, **({"stop": stops} if stops else {})}

    def begin_turn(self) -> Turn:
        """The turn that is written now."""
        self._turns.append(Turn())
        self._has_begun = False
        return self._turns[-1]

    def feed(self, text: str) -> SearchRequest | SearchResult | None:
        """The next piece of the turn's text, through the channel; see SearchChannel.feed."""
        if self._channel is None or not text:
            return None
        if not self._has_begun:
            self._has_begun = True
            text = self._joined("", text)
        return self._channel.feed(text)

    def end_turn(
        self, search: SearchRequest | SearchResult | None
    ) -> SearchRequest | SearchResult | None:
        """The search to be made before the next turn; None: the completion is finished.

        A server that stops at the end marker does not send it. Raises TransientError for a turn
        without an end.
        """
        turn = self._turns[-1]
        if search is not None:
            # What it wrote without the result is dropped.
            turn.text = turn.text.removesuffix(self._channel.unread if self._channel else "")
        elif turn.is_truncated:
            self.finish_reason = FinishReason.LENGTH
        elif self._channel is not None and self._channel.in_query:
            turn.text = self._joined(turn.text, MARKERS.end)
            search = self.feed(self._joined("", MARKERS.end))
        self._num_left -= turn.num_generated
        self._add_pieces(turn, has_query=search is not None)
        if search is None:
            # Whether at the end of the text or at a stop string, the API does not say.
            self.finish_reason = self.finish_reason or FinishReason.STOP
        return search

    def insert(self, result: SearchResult, mode: str, elapsed_ms: float) -> None:
        """Gives the model its result; without tokens left the completion ends here."""
        if self._channel is None:
            raise RuntimeError("a result without a channel")
        found = self._channel.resolve(result)
        inserted = self._prompt.word_result(found)
        self._channel.inserted(self._joined("", inserted))
        self._pieces.append(TextPiece(part=Part.INSERTED, text=inserted))
        self._num_inserted += len(inserted.split())
        self._searches.append(
            SearchStep(
                query=self._channel.query,
                expanded_query=self._channel.expanded_query,
                mode=mode,
                outcome=result.outcome.value,
                inserted_text=found,
                detail=result.detail,
                elapsed_ms=elapsed_ms,
            )
        )
        written = self._turns[-1].text
        self._text = self._joined(self._joined(self._text, written), inserted)
        self._messages += [
            {"role": "assistant", "content": written},
            {"role": "user", "content": inserted.strip()},
        ]
        if self._num_left <= 0:
            self.finish_reason = FinishReason.LENGTH

    def completion(self, total_ms: float) -> Completion:
        """Everything, once there is a finish reason."""
        if self.finish_reason is None:
            raise RuntimeError("the completion is not finished")
        return Completion(
            transcript=tuple(self._pieces),
            searches=tuple(self._searches),
            finish_reason=self.finish_reason,
            num_prompt_tokens=self._turns[0].num_prompt or 0,
            num_generated_tokens=sum(turn.num_generated for turn in self._turns),
            num_inserted_tokens=self._num_inserted,
            num_searches=len(self._searches),
            are_counts_estimated=any(turn.is_estimated for turn in self._turns),
            times=CompletionTimes(
                ttft_ms=self.ttft_ms,
                total_ms=total_ms,
                retrieval_ms=sum((search.elapsed_ms for search in self._searches), start=0.0),
            ),
        )

    def _joined(self, left: str, right: str) -> str:
        """Words are joined by one space; written language joins itself."""
        joint = self._prompt.joint
        return f"{left.rstrip(joint)}{joint}{right.lstrip(joint)}" if joint else left + right

    def _add_pieces(self, turn: Turn, *, has_query: bool) -> None:
        pieces = [(Part.REASONING, turn.reasoning), (Part.ANSWER, turn.text)]
        if has_query:
            before, marker, query = turn.text.rpartition(MARKERS.start)
            pieces[1:] = [(Part.ANSWER, before), (Part.QUERY, marker + query)]
        self._pieces += [TextPiece(part=p, text=t) for p, t in pieces if t]
