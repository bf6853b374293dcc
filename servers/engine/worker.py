"""Runs the engine on a thread of its own; everything here may be called from any thread."""

import itertools
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable
from queue import Empty, SimpleQueue

import torch

from harness_retrieval.types import Retriever
from harness_servers.checkpoints.codec import Codec
from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import QueueFullError, UnavailableError
from harness_servers.models.protocol import SequenceModel
from harness_servers.sequences.delivery import Delivery
from harness_servers.sequences.job import Job
from harness_servers.sequences.search_worker import Result, SearchWorker

_log = logging.getLogger(__name__)

Command = Callable[[Engine], None]


class EngineWorker:
    """Takes jobs in, hands deliveries out, and says when it has died.

    `deliver` and `on_failure` are called on the engine's thread and must not block. After a failure
    every job that is not done gets a last delivery with an error, and new ones are refused.
    """

    def __init__(
        self,
        *,
        model: SequenceModel,
        codec: Codec,
        retriever: Retriever,
        options: EngineOptions,
        deliver: Callable[[list[Delivery]], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._inbox: SimpleQueue[Command | None] = SimpleQueue()
        self._searches = SearchWorker(retriever, self._post_results)
        self._engine = Engine(
            model=model,
            codec=codec,
            searches=self._searches,
            context_prefix=uuid.uuid4().hex,
            options=options,
        )
        self._deliver = deliver
        self._on_failure = on_failure
        self._max_outstanding = options.num_slots + options.max_queued
        self._ids = itertools.count()
        self._lock = threading.Lock()  # over the two below
        self._outstanding: set[int] = set()
        self._ending: str | None = None  # why no more jobs are taken
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Warms the model up, then begins to take jobs."""
        with torch.inference_mode():
            self._engine.runner.warm_up()
        self._thread.start()

    def submit(self, job: Job) -> int:
        """Queues a job; deliveries carry the number that is returned.

        Raises QueueFullError, and UnavailableError after a failure or close.
        """
        with self._lock:
            if self._ending is not None:
                raise UnavailableError(self._ending)
            if len(self._outstanding) >= self._max_outstanding:
                raise QueueFullError(
                    f"{len(self._outstanding)} requests are waiting or running; "
                    f"the queue holds {self._max_outstanding}"
                )
            sequence_id = next(self._ids)
            self._outstanding.add(sequence_id)
        self._inbox.put(lambda engine: engine.submit(sequence_id, job))
        return sequence_id

    def cancel(self, sequence_id: int) -> None:
        """Frees the job's slot at the next step; a job that is done is ignored."""
        self._inbox.put(lambda engine: engine.cancel(sequence_id))

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends both threads; what is still running gets an error."""
        self._refuse("the server is shutting down")
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        self._searches.close()

    def _post_results(self, results: list[tuple[int, Result]]) -> None:
        def take(engine: Engine) -> None:
            for sequence_id, result in results:
                engine.take_result(sequence_id, result)

        self._inbox.put(take)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._take_commands():
                    self._engine.step()
                    self._send(self._engine.take_deliveries())
        except Exception as error:  # whatever it was, the states can no longer be trusted
            _log.exception("the engine died")
            self._refuse(f"the engine died: {error!r}")
            self._on_failure(error)
        self._fail_outstanding()

    def _take_commands(self) -> bool:
        """Runs what has come in, waiting for it where there is nothing else to do; False: end."""
        command: Command | None
        try:
            if self._engine.scheduler.has_work:
                command = self._inbox.get_nowait()
            else:
                command = self._inbox.get(timeout=self._seconds_to_deadline())
            while command is not None:
                command(self._engine)
                command = self._inbox.get_nowait()
        except Empty:
            return True
        return False

    def _seconds_to_deadline(self) -> float | None:
        deadline_ns = self._engine.next_deadline_ns
        if math.isinf(deadline_ns):
            return None
        return max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)

    def _send(self, deliveries: list[Delivery]) -> None:
        if not deliveries:
            return
        ended = [delivery.sequence_id for delivery in deliveries if delivery.is_last]
        if ended:
            with self._lock:
                self._outstanding.difference_update(ended)
        self._deliver(deliveries)

    def _refuse(self, why: str) -> None:
        with self._lock:
            self._ending = self._ending or why

    def _fail_outstanding(self) -> None:
        with self._lock:
            error = UnavailableError(self._ending or "the engine has ended")
            outstanding = sorted(self._outstanding)
        self._send([Delivery(sequence_id=i, error=error, is_last=True) for i in outstanding])
