"""What a worker does: a session on one shard, whose results are handed out as they come."""

import asyncio
import queue
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from harness.errors import InputError
from harness.runner.session import SessionPlan, run_session
from harness.runs.key_set import KeySet
from harness.runs.manifest import Manifest
from harness.runs.records import ErrorRecord, Key, SampleRecord
from harness.runs.store import record_line
from harness.scoring.exact import Verdict
from harness.version import harness_version

# Samples are handed out together: each handing costs the driver as much as many samples do.
_LINGER_S: Final = 0.5
_MAX_BATCH: Final = 512
# Not yet handed out; a driver that does not keep up holds up its workers.
_MAX_WAITING: Final = 4 * _MAX_BATCH


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """`plan` has the shard in its options; `done`: what is stored of it."""

    run: str
    plan: SessionPlan
    done: KeySet
    # Of the driver: what stands in a run, and between the two, is each version's own.
    version: str = field(default_factory=harness_version)


@dataclass(frozen=True, slots=True)
class SessionBegun:
    """What the shard asks, before its first sample."""

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Said:
    """To whoever watches."""

    text: str
    is_warning: bool


@dataclass(frozen=True, slots=True)
class SampleDone:
    """A sample as it is stored."""

    key: Key
    line: bytes
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SampleErrored:
    """A sample that has to be asked again."""

    line: bytes


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Nothing more comes. `failure`: why the session ended early."""

    failure: BaseException | None


Told = SessionBegun | Said | SampleDone | SampleErrored | SessionEnded


def work(task: ShardTask) -> Iterator[list[Told]]:
    """Runs the session; the last thing told is that it has ended."""
    if task.version != harness_version():
        told_of = f"worker {socket.gethostname()}: its harness is {harness_version()}"
        yield [SessionEnded(InputError(f"{told_of}, ours {task.version}: install the same on all"))]
        return
    told: queue.Queue[Told] = queue.Queue(_MAX_WAITING)
    session = _Session(task, told)
    session.start()
    try:
        while True:
            batch = _batch(told)
            yield batch
            if isinstance(batch[-1], SessionEnded):
                return
    finally:
        session.stop()


def _batch(told: "queue.Queue[Told]") -> list[Told]:
    """What comes within a moment; what is no sample goes out at once."""
    batch = [told.get()]
    end_s = time.monotonic() + _LINGER_S
    while isinstance(batch[-1], SampleDone | SampleErrored) and len(batch) < _MAX_BATCH:
        try:
            batch.append(told.get(timeout=max(0.0, end_s - time.monotonic())))
        except queue.Empty:
            break
    return batch


class _Session:
    """On a thread of its own: its loop goes on while a batch is on its way."""

    def __init__(self, task: ShardTask, told: "queue.Queue[Told]") -> None:
        self._task = task
        self._told = told
        self._loop = asyncio.new_event_loop()
        self._asking: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="shard", daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it in order where it still runs: its servers are stopped."""
        while self._thread.is_alive():
            if self._asking is not None:
                with suppress(RuntimeError):  # It has just ended.
                    self._loop.call_soon_threadsafe(self._asking.cancel)
            # It may wait for room to tell of something that nobody reads any more.
            while not self._told.empty():
                self._told.get_nowait()
            self._thread.join(timeout=0.1)

    def _run(self) -> None:
        failure: BaseException | None = None
        sink = StreamedSink(self._task, self._told)
        listener = _Listener(self._told)
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._ask(sink, listener))
            except BaseException as error:  # The driver raises it.
                failure = error
        self._told.put(SessionEnded(failure))

    async def _ask(self, sink: "StreamedSink", listener: "_Listener") -> None:
        self._asking = asyncio.current_task()
        await run_session(self._task.plan, sink, listener)


class StreamedSink:
    """Tells of each result; a Sink."""

    def __init__(self, task: ShardTask, told: "queue.Queue[Told]") -> None:
        self.done = task.done
        self._run = task.run
        self._told = told

    @property
    def run(self) -> str:
        """The run's ID."""
        return self._run

    def begin(self, manifest: Manifest, changes: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Told to the driver, which has the manifest."""
        self._told.put(SessionBegun(manifest))

    def num_done(self, cell: str) -> int:
        """Of this shard."""
        return self.done.num_of_cell(cell)

    def add(self, record: SampleRecord) -> None:
        """Raises ValueError for a sample that is there already."""
        if not self.done.add(record.key):
            raise ValueError(f"sample {record.address} of {record.cell} is stored already")
        self._told.put(SampleDone(record.key, record_line(record), record.verdict))

    def add_error(self, record: ErrorRecord) -> None:
        """Told like a sample."""
        self._told.put(SampleErrored(record_line(record)))


class _Listener:
    """Passes on what is said; the driver counts."""

    def __init__(self, told: "queue.Queue[Told]") -> None:
        self._told = told

    def say(self, text: str, *, is_warning: bool = False) -> None:
        self._told.put(Said(text, is_warning))

    def part_started(self, name: str, *, total: int, done: int) -> None:
        """Nothing."""

    def sample_finished(self, name: str, verdict: Verdict | None) -> None:
        """Nothing."""

    def part_ended(self, name: str) -> None:
        """Nothing."""
