"""Follows what one sequence writes: its channels, its searches, and when it has to end.

Knows tokens and text, but no batch, slot or clock.
"""

from harnessapi.values import FinishReason, Outcome, Part

from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec, Encoded
from harness_servers.generation import Job, RetrievalStep
from harness_servers.sequences.outbox import Outbox
from harness_servers.sequences.stops import StopFinder

# What a token leads to: an end, a search to be made, or the result of one that need not be made.
Consequence = FinishReason | SearchRequest | SearchResult


class Transcriber:
    """`write` every generated token; where it answers with a search, `insert` the result."""

    def __init__(
        self, *, job: Job, codec: Codec, context_id: str, context_limit: int | None
    ) -> None:
        self.num_generated = 0
        self.num_inserted = 0
        self._job = job
        self._codec = codec
        self._eos_ids = frozenset() if job.stopping.ignore_eos else codec.eos_ids
        self._stream = codec.stream(job.prompt_ids)
        self.outbox = Outbox(self._stream)
        self._part = Part.REASONING  # ANSWER once the model has marked it
        self._stops = StopFinder(job.stopping.stop) if job.stopping.stop else None
        self._search = _make_channel(job, codec, context_id)
        # Text is looked at token by token only where something depends on it.
        self._reads_text = self._stops is not None or self._search is not None
        self._context_limit = context_limit
        self._max_generated = job.stopping.max_new_tokens
        self._update_room()

    @property
    def num_searches(self) -> int:
        """Searches that were asked for and allowed."""
        return 0 if self._search is None else self._search.num_searches

    @property
    def num_left(self) -> int:
        """Tokens that may still be generated before an end is due."""
        return self._room - self.num_generated

    def write(self, token: int) -> Consequence | None:
        """Takes a generated token; None: go on."""
        self.num_generated += 1
        if token in self._eos_ids:
            self.end()
            self.outbox.add_with_text(token, "")
            return FinishReason.EOS
        consequence = None
        if self._reads_text:
            consequence = self._read(token)
            if consequence is FinishReason.STOP:
                return consequence
        else:
            if token == self._codec.answer_id:
                self.outbox.switch(Part.ANSWER)
            self.outbox.add(token)
        # At the limit a search would only delay the end.
        return self._limit_reached() if self.num_generated >= self._room else consequence

    def insert(self, result: SearchResult, elapsed_ns: int) -> list[int] | None:
        """Takes the result of the search; the tokens to be read, None where they do not fit."""
        if self._search is None or self._job.retrieval is None:
            raise RuntimeError("a search result came for a completion without a channel")
        wanted = self._codec.encode(self._search.resolve(result))
        ids = wanted.ids[: self._job.retrieval.max_inserted_tokens]
        texts = [self._stream.read(token) for token in ids]
        text = "".join(texts)
        self._search.inserted(text)
        self.num_inserted += len(ids)
        self._update_room()
        self.outbox.add_event(
            RetrievalStep(
                query=self._search.query,
                expanded_query=self._search.expanded_query,
                mode=self._job.retrieval.mode,
                outcome=result.outcome,
                inserted_text=text.strip(),
                num_inserted_tokens=len(ids),
                start=result.start,
                end=result.end,
                score=result.score,
                detail=_detail(result, wanted),
                elapsed_ns=elapsed_ns,
                truncated=len(ids) < len(wanted.ids),
            )
        )
        self.outbox.switch(Part.INSERTED)
        for token, piece in zip(ids, texts, strict=True):
            self.outbox.add_with_text(token, piece)
        return None if self.num_generated >= self._room else list(ids)

    def end(self) -> None:
        """No more text comes here: lets go of what might have become a stop string."""
        if self._stops is not None:
            self.outbox.add_text(self._stops.release())

    def _read(self, token: int) -> Consequence | None:
        text = self._stream.read(token)
        if self._search is not None:
            was_in_query = self._search.in_query
            consequence = self._search.feed(text)
            if was_in_query or self._search.in_query:
                self._switch(Part.QUERY)
                self.outbox.add_with_text(token, text)
                return consequence
        is_marker = token == self._codec.answer_id
        if is_marker:
            self._part = Part.ANSWER
        self._switch(self._part)
        is_stopped = False
        if self._stops is not None and not is_marker and self._may_stop():
            text, is_stopped = self._stops.read(text)
        self.outbox.add_with_text(token, text)
        return FinishReason.STOP if is_stopped else None

    def _may_stop(self) -> bool:
        return self._codec.answer_id is None or self._part is Part.ANSWER

    def _switch(self, part: Part) -> None:
        if part is not self.outbox.part:
            self.end()
            self.outbox.switch(part)

    def _update_room(self) -> None:
        """Generated tokens at which an end is due: by the request, or by the model's context."""
        self._room = self._max_generated
        if self._context_limit is not None:
            left = self._context_limit - len(self._job.prompt_ids) - self.num_inserted
            self._room = min(self._room, left)

    def _limit_reached(self) -> FinishReason:
        is_own = self.num_generated >= self._max_generated
        return FinishReason.LENGTH if is_own else FinishReason.CONTEXT_FULL


def _make_channel(job: Job, codec: Codec, context_id: str) -> SearchChannel | None:
    if job.retrieval is None or codec.markers is None:
        return None
    return SearchChannel(
        context_id=context_id,
        prompt_text=codec.decode(job.prompt_ids),
        markers=codec.markers,
        mode=job.retrieval.mode,
        limits=SearchLimits(max_searches=job.retrieval.max_searches),
        top_k=job.retrieval.top_k,
        abbreviations=job.retrieval.abbreviations,
    )


def _detail(result: SearchResult, wanted: Encoded) -> str:
    """Why nothing was found; or which words of the result the model cannot read."""
    if result.outcome is Outcome.FOUND and wanted.unknown:
        words = ", ".join(repr(unknown.word) for unknown in wanted.unknown)
        return f"outside the vocabulary, inserted as unknown: {words}"
    return result.detail
