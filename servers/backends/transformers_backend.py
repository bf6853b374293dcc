"""Hosts any causal language model that transformers knows: on our engine, row by row."""

from dataclasses import replace
from typing import Final

from harness_retrieval.types import Retriever
from harness_servers.backends.engine_backend import EngineBackend
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.models.transformers_model import TransformersModel

_DISTRIBUTION: Final = "transformers"
_WHOLE_PROMPT: Final = 2**30


def make_transformers_backend(
    *,
    checkpoint: Checkpoint[TransformersModel],
    retriever: Retriever,
    options: EngineOptions,
    max_prompt_tokens: int,
    name: str,
) -> EngineBackend:
    """A Backend that is yet to be started."""
    return EngineBackend(
        checkpoint=checkpoint,
        retriever=retriever,
        # Caches cannot be copied; and a prompt is read in one go, which some cannot be otherwise.
        options=replace(
            options,
            prefix_cache_bytes=0,
            prefill_tokens=_WHOLE_PROMPT,
            snapshot_interval=_WHOLE_PROMPT,
        ),
        max_prompt_tokens=max_prompt_tokens,
        name=name,
        distribution=_DISTRIBUTION,
    )
