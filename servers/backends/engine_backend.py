"""Serves a checkpoint of one of our models on our engine."""

from harness_retrieval.types import Retriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_thread import EngineThread
from harness_servers.models.protocol import SequenceModel
from harness_servers.sequences.runner_options import RunnerOptions


def backend_on_a_thread(
    checkpoint: Checkpoint[SequenceModel],
    *,
    retriever: Retriever,
    options: EngineOptions | None = None,
    runner_options: RunnerOptions | None = None,
    max_prompt_tokens: int,
    name: str,
    distribution: str = OWN_DISTRIBUTION,
) -> Backend:
    """The same in this process: for tests and benchmarks."""
    options = options or EngineOptions()
    return Backend(
        source=EngineThread(checkpoint.model, options),
        codec=checkpoint.codec,
        description=describe(
            checkpoint,
            distribution=distribution,
            num_slots=options.num_slots,
            max_prompt_tokens=max_prompt_tokens,
            name=name,
            styles=None,
        ),
        retriever=retriever,
        options=runner_options or RunnerOptions(num_slots=options.num_slots),
    )
