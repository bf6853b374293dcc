"""Follows what one sequence writes: its channels, its searches, and when it has to end.

Knows tokens and text, but no batch, slot or clock.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from harnessapi.text.stops import StopFinder
from harnessapi.values import FinishReason, Outcome, Part

from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec, Encoded
from harness_servers.generation import Job, Retrieval, RetrievalStep, TokenLogProb
from harness_servers.sequences.outbox import Outbox

# A result may be millions of characters: so many of them are tokenized, and no more for each token
# that may be inserted.
_MAX_RESULT_CHARACTERS: Final = 131_072
_MAX_CHARACTERS_PER_TOKEN: Final = 256
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
        # ANSWER from the start, or once the model has marked it.
        self._part = Part.ANSWER if codec.answer_id is None else Part.REASONING
        self.outbox = Outbox(self._stream, self._part)
        self._stops = StopFinder(job.stopping.stop) if job.stopping.stop else None
        self._search = _make_channel(job, codec, context_id)
        self._flushed = ""  # since the last insertion
        # By the text that was found: its tokens, and of how many of its characters.
        self._prepared: dict[str, tuple[Encoded, int]] = {}
        self._undecided: list[int] = []  # tokens that may be the beginning of a marker
        self._is_stopped = False  # by a stop string: what follows it is nobody's
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

    @property
    def num_ahead(self) -> int:
        """Tokens that may be generated before their text is looked at, up to one of `stop_ids`.

        One alone where markers are text, and one may be in what is held back of it.
        """
        has_text_markers = self._search is not None and not self._codec.search_end_ids
        is_held = has_text_markers and self._stream.holds_back
        return min(1, self.num_left) if is_held else self.num_left

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens after which nothing may be generated before they have been written here."""
        return self._eos_ids if self._search is None else self._eos_ids | self._codec.query_end_ids

    def write_all(
        self, tokens: Sequence[int], log_probs: Sequence[TokenLogProb] = ()
    ) -> Consequence | None:
        """Takes generated tokens, up to the first that leads to something; see `write`."""
        if self._is_plain(tokens):
            self.num_generated += len(tokens)
            self.outbox.add_all(tokens, log_probs)
            return None
        for place, token in enumerate(tokens):
            if log_probs:
                self.outbox.add_log_prob(log_probs[place])
            consequence = self.write(token)
            if consequence is not None:
                return consequence
        return None

    def write(self, token: int) -> Consequence | None:
        """Takes a generated token; None: go on."""
        self.num_generated += 1
        if token in self._eos_ids:
            is_stopped = self.end()
            self.outbox.add_with_text([token], "")
            return FinishReason.STOP if is_stopped else FinishReason.EOS
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

    def flush(self) -> None:
        """What is held back of the text is sure: what comes next is a result."""
        if rest := self._stream.flush():
            self._say([], rest)
            self._flushed += rest

    def prepare(self, found: str) -> None:
        """Tokenizes beforehand what is to be inserted, on any thread; after `flush`."""
        retrieval = self._job.retrieval
        if retrieval is None:
            return
        most = _MAX_CHARACTERS_PER_TOKEN * (retrieval.max_inserted_tokens + 1)
        read = found[: min(most, _MAX_RESULT_CHARACTERS)]
        wanted = self._codec.encode_insertion(_worded(retrieval, read), self._stream)
        self._prepared[found] = wanted, len(read)

    def insert(self, result: SearchResult, elapsed_ns: int) -> list[int] | None:
        """Takes the result of the search; the tokens to be read, None where they do not fit.

        The tokens that the model wrote stay as they are, also where the last one goes on after the
        end marker.
        """
        retrieval = self._job.retrieval
        if self._search is None or retrieval is None:
            raise RuntimeError("a search result came for a completion without a channel")
        found = self._search.resolve(result)
        self.flush()
        if found not in self._prepared:
            self.prepare(found)
        wanted, num_read = self._prepared.pop(found)
        ids = wanted.ids[: retrieval.max_inserted_tokens]
        text = self._stream.read(ids) + self._stream.flush()
        self._search.inserted(self._flushed + text)
        self._flushed = ""
        self.num_inserted += len(ids)
        self._update_room()
        self.outbox.add_event(
            RetrievalStep(
                query=self._search.query,
                expanded_query=self._search.expanded_query,
                mode=retrieval.mode,
                outcome=result.outcome,
                inserted_text=_unworded(retrieval, text),
                num_inserted_tokens=len(ids),
                start=result.start,
                end=result.end,
                score=result.score,
                detail=_detail(result, wanted),
                elapsed_ns=elapsed_ns,
                truncated=len(ids) < len(wanted.ids) or num_read < len(found),
            )
        )
        self._switch(Part.INSERTED)
        self.outbox.add_inserted(ids, text)
        return None if self.num_generated >= self._room else list(ids)

    def end(self) -> bool:
        """No more text comes: lets go of what was held back. True: a stop string was in it."""
        if not self._reads_text:
            self.outbox.flush()
            return False
        if not self._is_stopped:
            self._take(self._rest())
            self._release_stops()
        if self._undecided:
            self.outbox.add_with_text(self._undecided, "")
            self._undecided = []
        return self._is_stopped

    def _is_plain(self, tokens: Sequence[int]) -> bool:
        """Nothing depends on what these are, and no end is due: most of all tokens."""
        return (
            not self._reads_text
            and len(tokens) < self.num_left
            and self._codec.answer_id not in tokens
            and self._eos_ids.isdisjoint(tokens)
        )

    def _read(self, token: int) -> Consequence | None:
        text = self._stream.read_one(token)
        if self._search is None:
            return self._say([token], text, is_answer=token == self._codec.answer_id)
        if self._codec.search_end_ids:
            return self._read_words(token, text, self._search)
        consequence = self._search.feed(text)
        self._undecided.append(token)
        self._take(self._search.decided)
        if self._search.unread:
            self._say([], self._search.keep())
        return FinishReason.STOP if self._is_stopped else consequence

    def _read_words(self, token: int, text: str, search: SearchChannel) -> Consequence | None:
        """Where the markers are tokens each is whole, with the space that joins it to the text."""
        was_in_query = search.in_query
        consequence = search.feed(text)
        if was_in_query or search.in_query:
            self._switch(Part.QUERY)
            self.outbox.add_with_text([token], text)
            return consequence
        return self._say([token], text, is_answer=token == self._codec.answer_id)

    def _take(self, decided: list[tuple[bool, str]]) -> None:
        """Text with its part; the tokens that it came with belong to the first of it."""
        for is_query, text in decided:
            ids, self._undecided = self._undecided, []
            if is_query:
                self._switch(Part.QUERY)
                self.outbox.add_with_text(ids, text)
            else:
                self._say(ids, text)
            if self._is_stopped:
                return

    def _say(self, ids: list[int], text: str, *, is_answer: bool = False) -> FinishReason | None:
        """Text outside queries; a stop string in it is cut off, with what follows."""
        if is_answer:
            self._part = Part.ANSWER
        self._switch(self._part)
        if self._stops is not None and not is_answer and self._part is Part.ANSWER:
            text, self._is_stopped = self._stops.read(text)
        self.outbox.add_with_text(ids, text)
        return FinishReason.STOP if self._is_stopped else None

    def _rest(self) -> list[tuple[bool, str]]:
        """What the stream and the channel have held back."""
        text = self._stream.flush()
        if self._search is None:
            return [(False, text)]
        if self._codec.search_end_ids or self._search.awaits_result:
            return [(self._search.in_query, text)] if text else []
        self._search.feed(text)
        decided = [*self._search.decided, *self._search.release()]
        after = self._search.keep()
        return [*decided, (False, after)] if after else decided

    def _switch(self, part: Part) -> None:
        if part is not self.outbox.part:
            self._release_stops()
            self.outbox.switch(part)

    def _release_stops(self) -> None:
        if self._stops is not None:
            self.outbox.add_text(self._stops.release())

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
    retrieval, markers = job.retrieval, codec.markers
    if retrieval is None or markers is None:
        return None
    if retrieval.failed_text is not None:
        markers = replace(markers, failed=retrieval.failed_text)
    searched = retrieval.searched_text
    return SearchChannel(
        context_id=context_id,
        prompt_text=codec.decode(job.prompt_ids) if searched is None else searched,
        markers=markers,
        mode=retrieval.mode,
        limits=SearchLimits(max_searches=retrieval.max_searches),
        top_k=retrieval.top_k,
        abbreviations=retrieval.abbreviations,
    )


def _worded(retrieval: Retrieval, found: str) -> str:
    return f"{retrieval.result_prefix}{found}{retrieval.result_suffix}"


def _unworded(retrieval: Retrieval, text: str) -> str:
    bare = text.removeprefix(retrieval.result_prefix).removesuffix(retrieval.result_suffix)
    return bare.strip()


def _detail(result: SearchResult, wanted: Encoded) -> str:
    """Why nothing was found; or which words of the result the model cannot read."""
    if result.outcome is Outcome.FOUND and wanted.unknown:
        words = ", ".join(repr(unknown.word) for unknown in wanted.unknown)
        return f"outside the vocabulary, inserted as unknown: {words}"
    return result.detail
