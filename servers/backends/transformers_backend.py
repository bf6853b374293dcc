"""Hosts any causal language model that transformers knows, on our engine."""

from typing import Final

import torch
from harnessapi.devices import choose_device
from harnessapi.values import IN_BATCHES, ROW_BY_ROW

from harness_servers.backends.engine_backend import EngineBackend
from harness_servers.backends.hosting import Hosting
from harness_servers.checkpoints.hugging_face import load_transformers_model
from harness_servers.engine.engine_options import EngineOptions

_DISTRIBUTION: Final = "transformers"
_WHOLE_PROMPT: Final = 2**30
_WITHOUT_CUDA: Final = (
    "torch sees no GPU here, or is a build for CPUs (then install the one for your CUDA, see "
    "https://pytorch.org/get-started/locally)"
)


def make_backend(hosting: Hosting) -> EngineBackend:
    """A Backend that is yet to be started. Raises CheckpointError, DeviceError."""
    device = choose_device(
        hosting.device, has_cuda=torch.cuda.is_available(), without_cuda=_WITHOUT_CUDA
    )
    checkpoint = load_transformers_model(hosting.folder, device=device)
    return EngineBackend(
        checkpoint=checkpoint,
        retriever=hosting.retriever(),
        # Caches cannot be copied; and a prompt is read in one go, which some cannot be otherwise.
        options=EngineOptions(
            num_slots=hosting.slots,
            prefix_cache_bytes=0,
            prefill_tokens=_WHOLE_PROMPT,
            snapshot_interval=_WHOLE_PROMPT,
        ),
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        styles=hosting.styles,
        distribution=_DISTRIBUTION,
        device=checkpoint.model.device,
        decoding=IN_BATCHES if checkpoint.model.is_batched else ROW_BY_ROW,
    )
