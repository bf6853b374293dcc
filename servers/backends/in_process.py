"""Our engine on a thread of this process, behind the same backend: for tests and benchmarks."""

from harness_retrieval.types import Retriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_thread import EngineThread
from harness_servers.models.protocol import SequenceModel
from harness_servers.sequences.runner_options import RunnerOptions


def backend_in_process(
    checkpoint: Checkpoint[SequenceModel],
    *,
    retriever: Retriever,
    options: EngineOptions | None = None,
    runner_options: RunnerOptions | None = None,
    max_prompt_tokens: int,
    name: str,
) -> Backend:
    """A backend that is yet to be started."""
    options = options or EngineOptions()
    return Backend(
        source=EngineThread(checkpoint.model, options),
        codec=checkpoint.codec,
        description=describe(
            checkpoint,
            distribution=OWN_DISTRIBUTION,
            num_slots=options.num_slots,
            max_prompt_tokens=max_prompt_tokens,
            name=name,
            styles=None,
        ),
        retriever=retriever,
        options=runner_options or RunnerOptions(num_slots=options.num_slots),
    )
