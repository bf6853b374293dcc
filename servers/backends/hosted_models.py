"""What an engine's process loads: imported there, with torch; see EngineSpec.load."""

from dataclasses import replace
from typing import Final

import torch
from harnessapi.devices import choose_device
from harnessapi.values import IN_BATCHES, ROW_BY_ROW

from harness_servers.backends.cache_policies import with_policy
from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.backends.narrowing import narrowed
from harness_servers.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness_servers.engine.engine_spec import EngineSpec, HostedModel
from harness_servers.errors import CheckpointError
from harness_servers.models.protocol import SequenceModel
from harness_servers.models.reading_proof import reads_in_pieces

_TRANSFORMERS: Final = "transformers"
_WITHOUT_CUDA: Final = (
    "torch sees no GPU here, or is a build for CPUs (then install the one for your CUDA, see "
    "https://pytorch.org/get-started/locally)"
)


def load_own(spec: EngineSpec) -> HostedModel:
    """One of our models. Raises CheckpointError."""
    checkpoint: Checkpoint[SequenceModel] = load_checkpoint(spec.folder)
    if spec.cache_policy is not None:
        checkpoint = with_policy(checkpoint, spec.cache_policy)
    if not reads_in_pieces(checkpoint.model):
        raise CheckpointError(
            f"checkpoint {spec.folder}: a text read in pieces gives other logits than read at "
            "once, or none that are numbers; its weights are out of the range of float32"
        )
    if spec.state_bits is not None:
        narrow = narrowed(checkpoint, spec.state_bits)
        return _hosted(spec, narrow, OWN_DISTRIBUTION, has_rows_apart=True)
    return _hosted(spec, checkpoint, OWN_DISTRIBUTION, has_rows_apart=True)


def load_generic(spec: EngineSpec) -> HostedModel:
    """Any causal language model that transformers knows. Raises CheckpointError, DeviceError."""
    # That brings a library which our models do without.
    from harness_servers.checkpoints.hugging_face import load_transformers_model  # noqa: PLC0415

    device = choose_device(
        spec.device, has_cuda=torch.cuda.is_available(), without_cuda=_WITHOUT_CUDA
    )
    checkpoint = load_transformers_model(spec.folder, device=device)
    hosted = _hosted(spec, checkpoint, _TRANSFORMERS, has_rows_apart=False)
    decoding = IN_BATCHES if checkpoint.model.is_batched else ROW_BY_ROW
    described = replace(hosted.description, device=checkpoint.model.device, decoding=decoding)
    return replace(hosted, description=described)


def _hosted(
    spec: EngineSpec,
    checkpoint: Checkpoint[SequenceModel],
    distribution: str,
    *,
    has_rows_apart: bool,
) -> HostedModel:
    description = describe(
        checkpoint,
        distribution=distribution,
        num_slots=spec.options.num_slots,
        max_prompt_tokens=spec.max_prompt_tokens,
        name=spec.name or checkpoint.name,
        styles=spec.styles,
        state_bits=spec.state_bits or 0,
        cache_policy=spec.cache_policy or "",
    )
    return HostedModel(
        model=checkpoint.model,
        description=description,
        config=checkpoint.config,
        has_rows_apart=has_rows_apart,
    )
