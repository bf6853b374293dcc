"""A session in shards, each a Ray task: this process keeps the store, and has lost ones redone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Final

from harness.cluster.shard_task import (
    Said,
    SampleDone,
    SampleErrored,
    SessionBegun,
    SessionEnded,
    ShardTask,
    Told,
    work,
)
from harness.errors import HarnessError, IncompleteError
from harness.runner.cell_run import Listener
from harness.runner.merging import undivided
from harness.runner.resumption import (
    joined_fields,
    manifest_changes,
    manifest_differences,
    resume_refused,
)
from harness.runner.session import SessionPlan
from harness.runs.key_set import KeySet, split_address
from harness.runs.manifest import Manifest, copy_manifest, read_manifest
from harness.runs.shard import Shard
from harness.runs.store import RunStore

# In a row, without a sample between.
_MAX_LOSSES: Final = 5
# Batches of a worker that wait for us.
_MAX_BATCHES: Final = 8


async def run_ray_session(
    ray: Any, plan: SessionPlan, store: RunStore, listener: Listener, *, num_workers: int
) -> None:
    """As `run_session`, with the samples divided among so many workers.

    A worker that is lost is replaced, and asks what is missing of its shard. Raises as
    `run_session` does, and IncompleteError for a shard whose workers are lost again and again.
    """
    session = _RaySession(ray, plan, store, listener, num_workers)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(num_workers):
                group.create_task(session.finish(Shard(number, num_workers)))
    except ExceptionGroup as group_of_errors:
        raise group_of_errors.exceptions[0] from None
    finally:
        session.close()
    if session.failures:
        raise _one_of(session.failures)


class _RaySession:
    def __init__(
        self, ray: Any, plan: SessionPlan, store: RunStore, listener: Listener, num_workers: int
    ) -> None:
        self._ray = ray
        self._plan = plan
        self._store = store
        self._listener = listener
        self._name = f"{num_workers} workers" if num_workers > 1 else "1 worker"
        self._num_workers = num_workers
        # Written, and of all shards; None: no worker has told yet what it asks.
        self._manifest: Manifest | None = None
        self._said: set[str] = set()
        self._task = ray.remote(work).options(
            num_returns="streaming",
            # Ray would begin anew, not knowing what is stored: see `finish`.
            max_retries=0,
            _generator_backpressure_num_objects=_MAX_BATCHES,
        )
        self.failures: list[HarnessError] = []

    async def finish(self, shard: Shard) -> None:
        """Worker after worker until one has ended in order."""
        num_losses = 0
        while True:
            num_before = len(self._store.done)
            try:
                async for batch in self._batches(shard):
                    for told in batch:
                        self._take(told)
                return
            except self._ray.exceptions.RayTaskError:
                raise  # a fault of ours
            except self._ray.exceptions.RayError as error:
                is_further = len(self._store.done) > num_before
                num_losses = 1 if is_further else num_losses + 1
                reason = str(error).partition("\n")[0]
                if num_losses >= _MAX_LOSSES:
                    self.failures.append(
                        IncompleteError(
                            f"shard {shard}: its worker was lost {num_losses} times in a row: "
                            f"{reason}"
                        )
                    )
                    return
                lost = f"shard {shard}: its worker was lost, another one goes on: {reason}"
                self._listener.say(lost, is_warning=True)

    def close(self) -> None:
        """Nothing more is shown."""
        if self._manifest is not None:
            self._listener.part_ended(self._name)

    async def _batches(self, shard: Shard) -> AsyncIterator[Sequence[Told]]:
        plan = replace(
            self._plan,
            options=replace(self._plan.options, shard=shard),
            # The driver compares.
            manifest=None,
            requests_per_minute=self._plan.requests_per_minute
            and self._plan.requests_per_minute / self._num_workers,
        )
        task = ShardTask(run=self._store.run, plan=plan, done=self._done_of(shard))
        async for reference in self._task.remote(task):
            yield await reference

    def _done_of(self, shard: Shard) -> KeySet:
        return KeySet(
            key
            for key in self._store.done
            if (index := split_address(key[1])[1]) is not None and shard.has(index)
        )

    def _take(self, told: Told) -> None:
        match told:
            case SampleDone(key, line, verdict):
                # Of a worker that was taken for lost.
                if key not in self._store.done:
                    self._store.add_line(key, line)
                    self._listener.sample_finished(self._name, verdict)
            case SampleErrored(line):
                self._store.add_error_line(line)
                self._listener.sample_finished(self._name, None)
            case Said(text, is_warning):
                # All workers say the same.
                if text not in self._said:
                    self._said.add(text)
                    self._listener.say(text, is_warning=is_warning)
            case SessionBegun(manifest):
                self._begin(undivided(manifest))
            case SessionEnded(failure):
                self._end(failure)

    def _begin(self, planned: Manifest) -> None:
        if self._manifest is None:
            stored = self._plan.manifest
            changes = None if stored is None else manifest_changes(stored, planned)
            self._store.begin(planned, changes)
            self._manifest = read_manifest(self._store.folder)
            total, done = self._manifest.num_samples, len(self._store.done)
            self._listener.part_started(self._name, total=total, done=done)
            return
        if differences := manifest_differences(self._manifest, planned):
            raise resume_refused(self._store.run, differences)
        if changes := joined_fields(self._manifest, planned):
            copy_manifest(self._store.folder, self._store.folder, changes)
            self._manifest = read_manifest(self._store.folder)

    def _end(self, failure: BaseException | None) -> None:
        if isinstance(failure, HarnessError):
            self.failures.append(failure)
        elif failure is not None:
            raise failure


def _one_of(failures: Sequence[HarnessError]) -> HarnessError:
    """All that the shards ended with, each line once."""
    lines = dict.fromkeys(line for failure in failures for line in str(failure).splitlines())
    kinds = {type(failure) for failure in failures}
    kind = kinds.pop() if len(kinds) == 1 else IncompleteError
    return kind("\n".join(lines))
