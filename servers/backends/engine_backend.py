"""Serves a checkpoint on our engine, in a process of its own."""

from typing import Final

from harness_servers.backends.backend import Backend
from harness_servers.backends.hosting import Hosting
from harness_servers.checkpoints.checkpoint_files import load_codec
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.engine_process import EngineProcess
from harness_servers.engine.engine_spec import EngineSpec
from harness_servers.sequences.runner_options import RunnerOptions

_LOAD: Final = "harness_servers.backends.hosted_models:load_own"


def make_backend(hosting: Hosting) -> Backend:
    """A backend that is yet to be started. Raises CheckpointError."""
    options = EngineOptions(num_slots=hosting.slots, tells_counts=hosting.tells_counts)
    return backend_on_engine(hosting, _LOAD, options)


def backend_on_engine(hosting: Hosting, load: str, options: EngineOptions) -> Backend:
    """The same of whatever `load` loads; see EngineSpec. Raises CheckpointError."""
    spec = EngineSpec(
        load=load,
        folder=hosting.folder,
        options=options,
        threads=hosting.threads,
        device=hosting.device,
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name,
        styles=hosting.styles,
        state_bits=hosting.state_bits,
        log_format=hosting.log_format,
        cache_policy=hosting.cache_policy,
    )
    source = EngineProcess.launch(spec)
    return Backend(
        source=source,
        codec=load_codec(hosting.folder, source.config, source.description.vocabulary_size),
        description=source.description,
        retriever=hosting.retriever(),
        options=RunnerOptions(num_slots=options.num_slots),
    )
