"""Hosts any causal language model that transformers knows, on our engine."""

from typing import Final

from harness_servers.backends.backend import Backend
from harness_servers.backends.engine_backend import backend_on_engine
from harness_servers.backends.hosting import Hosting
from harness_servers.engine.engine_options import EngineOptions

_LOAD: Final = "harness_servers.backends.hosted_models:load_generic"
_WHOLE_PROMPT: Final = 2**30


def make_backend(hosting: Hosting) -> Backend:
    """A Backend that is yet to be started. Raises CheckpointError, DeviceError."""
    # Caches cannot be copied; and a prompt is read in one go, which some cannot be otherwise.
    options = EngineOptions(
        num_slots=hosting.slots,
        prefix_cache_bytes=0,
        prefill_tokens=_WHOLE_PROMPT,
        snapshot_interval=_WHOLE_PROMPT,
        tells_counts=hosting.tells_counts,
    )
    return backend_on_engine(hosting, _LOAD, options)
