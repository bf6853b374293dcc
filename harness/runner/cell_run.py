"""Asks the samples of a cell that are missing, a bounded number at a time, and stores each."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from harness.clients.completion import CompletionRequest
from harness.clients.connection import Connection
from harness.clients.faults import AttemptError, RefusedError, TransientError
from harness.errors import EndpointLostError, InputError, UnreachableError
from harness.runner.recording import error_record, sample_record
from harness.runs.cell import Cell
from harness.runs.store import RunStore
from harness.sample import Prompt, Sample, Split
from harness.scoring.exact import Verdict
from harness.tasks import make_task
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task


class Listener(Protocol):
    """Those who watch a run; called on the event loop, in order."""

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """A phase begins; or, as a warning, something that a user wants to know in any case."""
        ...

    def cell_started(self, cell: Cell, *, total: int, done: int) -> None:
        """`done` of the cell's `total` samples are stored already."""
        ...

    def sample_finished(self, verdict: Verdict | None) -> None:
        """One sample of the current cell is stored; None: it errored."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRun:
    """One cell and what it takes to run it."""

    cell: Cell
    connection: Connection
    num_samples: int
    seed: int
    concurrency: int
    deadline_s: float
    # Worked out in every prompt of the natural style.
    examples: tuple[Sample, ...] = ()

    @property
    def task(self) -> Task:
        """The task at the cell's size, with its parameters."""
        return make_task(self.cell.task, size=self.cell.size, **self.cell.parameters)

    def prompt(self, sample: Sample) -> Prompt:
        """The exact text that is sent."""
        return make_prompt(self.task, sample, self.cell.way, examples=self.examples)


async def check_prompt(run: CellRun, listener: Listener) -> None:
    """Lets the server read the first prompt, so that a cell of bad ones is never begun.

    Raises InputError for a word outside its vocabulary and for a prompt over its length (or one
    that the server cuts without a word), UnreachableError where there is no answer.
    """
    prompt = run.prompt(run.task.sample(Split.TEST, run.seed, 0))
    cell, longest = run.cell, run.connection.model.max_prompt_tokens
    try:
        num_tokens = await run.connection.count_tokens(prompt, deadline_s=run.deadline_s)
    except RefusedError as error:
        raise InputError(f"{cell.key}: the server refuses the prompt: {error.detail}") from None
    except AttemptError as error:
        raise UnreachableError(f"{cell.key}: no answer to the first prompt: {error}") from None
    if not num_tokens:
        listener.say(
            f"endpoint '{cell.endpoint}' counts no tokens: tokens/s are an estimate, "
            "one token for each piece of text that comes",
            is_warning=True,
        )
    num_words = len(prompt.text.split())
    # No tokenizer in use takes several words for one token.
    if 0 < num_tokens < num_words:
        raise InputError(
            f"{cell.key}: the server counts {num_tokens} tokens in a prompt of {num_words} words: "
            "it cuts prompts; raise the context length that it is run with"
        )
    if longest and num_tokens > longest:
        raise InputError(
            f"{cell.task_label} at size {cell.size}: a prompt has {num_tokens} tokens, "
            f"endpoint '{cell.endpoint}' takes {longest}"
        )


async def run_cell(run: CellRun, store: RunStore, listener: Listener) -> None:
    """Does what is missing, nothing twice.

    Raises InputError where the server refuses a request, EndpointLostError where it is lost.
    """
    num_done = store.num_done(run.cell.key)
    listener.cell_started(run.cell, total=run.num_samples, done=num_done)
    # Samples are made when a worker asks for the next: never more than `concurrency` at once.
    queue = _missing(run, store)
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(run.concurrency, run.num_samples - num_done)):
                workers.create_task(_ask_missing(run, queue, store, listener))
    except ExceptionGroup as group:
        # The first failure cancels the others; it alone is the reason.
        raise group.exceptions[0] from None


def _missing(run: CellRun, store: RunStore) -> Iterator[Sample]:
    task = run.task
    samples = (task.sample(Split.TEST, run.seed, index) for index in range(run.num_samples))
    return (sample for sample in samples if (run.cell.key, sample.address.key) not in store.done)


async def _ask_missing(
    run: CellRun, queue: Iterator[Sample], store: RunStore, listener: Listener
) -> None:
    for sample in queue:
        prompt = run.prompt(sample)
        request = CompletionRequest(
            prompt=prompt,
            mode=run.cell.retrieval,
            max_new_tokens=run.cell.max_new_tokens,
            abbreviations=run.task.abbreviations,
        )
        generator = random.Random(f"{run.cell.key} {sample.address.key}")
        started_at_s = time.time()
        try:
            completion = await run.connection.complete(
                request, deadline_s=run.deadline_s, generator=generator
            )
            record = sample_record(
                run.cell, sample, completion, prompt=prompt.text, started_at_s=started_at_s
            )
        except AttemptError as error:
            store.add_error(error_record(run.cell, sample, error, started_at_s))
            listener.sample_finished(None)
            _stop_if_hopeless(run, error)
        else:
            store.add(record)
            listener.sample_finished(record.verdict)


def _stop_if_hopeless(run: CellRun, error: AttemptError) -> None:
    if isinstance(error, RefusedError) and not error.is_of_one:
        raise InputError(f"{run.cell.key}: the server refuses a request: {error.detail}")
    if isinstance(error, TransientError) and error.is_away:
        raise EndpointLostError(
            f"endpoint '{run.cell.endpoint}' did not answer within {run.deadline_s:g} s, "
            f"in {error.num_attempts} attempts; the last one: {error}"
        )
