"""Asks the samples of a cell that are missing, a bounded number at a time, and stores each."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import Connection
from harness.clients.faults import AttemptError, FilteredError, RefusedError, TransientError
from harness.errors import EndpointLostError, IncompleteError, InputError
from harness.runner.budget import Budget
from harness.runner.recording import error_record, filtered_completion, sample_record
from harness.runner.sample_queue import Queued, SampleQueue
from harness.runner.search_checks import SearchChecks
from harness.runner.sink import Sink
from harness.runs.cell import Cell
from harness.runs.records import SampleRecord
from harness.runs.run_limits import Limits, StopRule
from harness.runs.spent import CellTally, Spent, paid, paid_tokens
from harness.sample import Prompt, Sample, Split
from harness.scoring.exact import Verdict
from harness.tasks.foreign import naming
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task
from harness.way import SearchArm, Way

# A cell with so many refusals in a row is refused as a whole.
_MAX_REFUSED: Final = 10
# An endpoint that fails so many samples in a row, and answers nobody meanwhile, is lost.
_MAX_SILENT: Final = 3


class CellRefusedError(IncompleteError):
    """The endpoint refuses a cell's requests one after the other; other cells can be asked."""


class Listener(Protocol):
    """Those who watch a run; called on the event loop, in order."""

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """A phase begins; or, as a warning, something that a user wants to know in any case."""
        ...

    def part_started(self, name: str, *, total: int, done: int) -> None:
        """A part of the run, as people call it; `done` of its `total` samples are stored."""
        ...

    def sample_finished(self, name: str, verdict: Verdict | None) -> None:
        """One sample of a part is stored; None: it errored."""
        ...

    def part_ended(self, name: str) -> None:
        """Nothing more is asked of it, whether or not it is done."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRun:
    """One cell and what it takes to run it."""

    cell: Cell
    # At the cell's size, with its parameters.
    task: Task
    connection: Connection
    # Of the samples that are asked.
    indices: Sequence[int]
    # Of the sample that is first in the run: of all its shards.
    first_index: int
    seed: int
    concurrency: int
    deadline_s: float
    # Worked out in every prompt of the natural style.
    examples: tuple[Sample, ...] = ()
    # So often each sample is asked.
    repeats: int = 1
    # As a CompletionRequest's.
    top_log_probs: int | None = None
    budget: Budget = field(default_factory=lambda: Budget(Limits()))
    # Samples that are enough; None: all of them are asked.
    stop_when: StopRule | None = None
    # Of those that are stored.
    tally: CellTally = field(default_factory=CellTally)
    # None: what servers say of their searches is taken as it is.
    search_checks: SearchChecks | None = None

    @property
    def num_asked(self) -> int:
        """Samples with their repeats."""
        return len(self.indices) * self.repeats

    def prompt(self, sample: Sample) -> Prompt:
        """The exact text that is sent. Raises InputError where the sample cannot be asked so."""
        return self.prompt_of(sample, self.cell.way)

    def prompt_of(self, sample: Sample, way: Way) -> Prompt:
        """The same, asked in another way."""
        return make_prompt(self.task, sample, way, examples=self.examples)


async def run_cell(run: CellRun, store: Sink, listener: Listener) -> None:
    """Does what is missing, nothing twice.

    Raises CellRefusedError where the server refuses one request after the other, BudgetError
    where the budget is spent, EndpointLostError where the endpoint is lost.
    """
    num_done = store.num_done(run.cell.key)
    listener.part_started(run.cell.label, total=run.num_asked, done=num_done)
    run.connection.replicas.begin_cell()
    # Samples are made when a worker asks for the next: never more than `concurrency` at once.
    asking = _Asking(run, store, listener)
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(run.concurrency, run.num_asked - num_done)):
                workers.create_task(asking.work())
    except ExceptionGroup as group:
        # The first failure cancels the others; it alone is the reason.
        raise group.exceptions[0] from None
    finally:
        listener.part_ended(run.cell.label)
    if asking.samples.is_over:
        num_asked = asking.samples.tally.n
        listener.say(
            f"{run.cell.key}: {num_asked:,} of {run.num_asked:,} samples are enough "
            f"(--stop-when {run.stop_when})"
        )


class _Asking:
    """What the workers of a cell have in common."""

    def __init__(self, run: CellRun, store: Sink, listener: Listener) -> None:
        self._run = run
        self._store = store
        self._listener = listener
        self.samples = SampleQueue(
            self._missing(), run.stop_when, replace(run.tally), repeats=run.repeats
        )
        self._num_refused = 0
        self._num_silent = 0

    def _missing(self) -> Iterator[Queued]:
        """The samples that are not stored."""
        run, task, done = self._run, self._run.task, self._store.done
        cell = run.cell.key
        # Addresses differ in their end alone; of a long run nothing is drawn that is stored.
        start = task.address_of(Split.TEST, run.seed, 0).key.removesuffix("0")
        num_stored_ahead = self._store.num_done(cell)
        for index in run.indices:
            if all((cell, f"{start}{index}", repeat) in done for repeat in range(run.repeats)):
                num_stored_ahead -= run.repeats
                continue
            try:
                with naming(cell, f"sample {index}"):
                    sample = task.sample(Split.TEST, run.seed, index)
            except InputError as error:
                raise CellRefusedError(f"{error}; the cell is left out") from None
            for repeat in range(run.repeats):
                if (cell, sample.address.key, repeat) in done:
                    num_stored_ahead -= 1
                else:
                    may_be_left_out = num_stored_ahead <= 0 and repeat == 0
                    yield Queued(sample, repeat, may_be_left_out)

    async def work(self) -> None:
        """Asks sample after sample. Raises as `run_cell` does."""
        while (asked := await self.samples.next()) is not None:
            record = None
            try:
                record = await self._ask_within_budget(asked.sample, asked.repeat)
            finally:
                self.samples.ended(record)

    async def _ask_within_budget(self, sample: Sample, repeat: int) -> SampleRecord | None:
        run, budget = self._run, self._run.budget
        prices = run.connection.endpoint.prices
        prompt = self._prompt(sample)
        num_read = run.connection.room.num_tokens(prompt)
        most = paid(num_read, run.cell.max_new_tokens, prices)
        await budget.reserve(most)
        used = Spent()
        try:
            record = await self._ask(sample, repeat, prompt)
            if record is not None:
                used = paid(*paid_tokens(record), prices)
            return record
        finally:
            budget.settle(most, used)

    def _prompt(self, sample: Sample) -> Prompt:
        try:
            with naming(self._run.cell.key, sample.address.key):
                return self._run.prompt(sample)
        except InputError as error:
            raise CellRefusedError(f"{error}; the cell is left out") from None

    async def _ask(self, sample: Sample, repeat: int, prompt: Prompt) -> SampleRecord | None:
        """One sample, stored; None where it errored."""
        started_at_s = time.time()
        try:
            completion = await self._complete(sample, repeat, prompt)
            record = sample_record(
                self._run.cell,
                sample,
                completion,
                repeat=repeat,
                wording=self._run.task.wording,
                prompt=prompt.text,
                started_at_s=started_at_s,
            )
        except AttemptError as error:
            self._store.add_error(error_record(self._run.cell, sample, repeat, error, started_at_s))
            self._listener.sample_finished(self._run.cell.label, None)
            self._stop_if_hopeless(error)
            return None
        self._num_refused = self._num_silent = 0
        self._store.add(record)
        self._listener.sample_finished(self._run.cell.label, record.verdict)
        return record

    async def _complete(self, sample: Sample, repeat: int, prompt: Prompt) -> Completion:
        run = self._run
        request = CompletionRequest(
            prompt=prompt,
            mode=run.cell.retrieval,
            max_new_tokens=run.cell.max_new_tokens,
            abbreviations=run.task.abbreviations,
            repeat=repeat,
            top_log_probs=run.top_log_probs,
            max_searches=0 if run.cell.search is SearchArm.EMPTY else None,
        )
        # The first time a sample is asked it waits as it did before there were repeats.
        name = f"{run.cell.key} {sample.address.key}" + (f" {repeat}" if repeat else "")
        try:
            completion = await run.connection.complete(
                request, deadline_s=run.deadline_s, generator=random.Random(name)
            )
        except FilteredError as error:
            return filtered_completion(error)
        if run.search_checks is None or not run.connection.client.is_searched_by_server:
            return completion
        return await run.search_checks.checked(completion, request, run.connection.model.markers)

    def _stop_if_hopeless(self, error: AttemptError) -> None:
        run = self._run
        is_refused = isinstance(error, RefusedError)
        self._num_refused = self._num_refused + 1 if is_refused else 0
        if isinstance(error, RefusedError) and not error.is_of_one:
            # Of a key, a model or an address: no other cell fares better.
            if self._num_refused >= min(_MAX_SILENT, run.num_asked):
                raise EndpointLostError(f"endpoint '{run.cell.endpoint}' refuses us: {error}")
            return
        if self._num_refused >= min(_MAX_REFUSED, run.num_asked):
            raise CellRefusedError(
                f"{run.cell.key} is left out: the server refused {self._num_refused} requests "
                f"in a row; the last one: {error.detail}"
            )
        if not isinstance(error, TransientError) or not error.is_endpoints:
            return
        self._num_silent += 1
        if error.is_away or self._num_silent >= _MAX_SILENT:
            raise EndpointLostError(
                f"endpoint '{run.cell.endpoint}' did not answer within {run.deadline_s:g} s, "
                f"in {error.num_attempts} attempts; the last one: {error}"
            )
