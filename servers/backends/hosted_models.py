"""What an engine's process loads: imported there, with torch; see EngineSpec.load."""

from typing import Final

from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness_servers.engine.engine_spec import EngineSpec, HostedModel
from harness_servers.errors import CheckpointError
from harness_servers.models.protocol import SequenceModel
from harness_servers.models.reading_proof import reads_in_pieces

_TRANSFORMERS: Final = "transformers"


def load_own(spec: EngineSpec) -> HostedModel:
    """One of our models. Raises CheckpointError."""
    checkpoint = load_checkpoint(spec.folder)
    if not reads_in_pieces(checkpoint.model):
        raise CheckpointError(
            f"checkpoint {spec.folder}: a text read in pieces gives other logits than read at "
            "once, or none that are numbers; its weights are out of the range of float32"
        )
    return _hosted(spec, checkpoint, OWN_DISTRIBUTION, has_rows_apart=True)


def load_generic(spec: EngineSpec) -> HostedModel:
    """Any causal language model that transformers knows. Raises CheckpointError."""
    # That brings a library which our models do without.
    from harness_servers.checkpoints.hugging_face import load_transformers_model  # noqa: PLC0415

    checkpoint = load_transformers_model(spec.folder)
    return _hosted(spec, checkpoint, _TRANSFORMERS, has_rows_apart=False)


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
    )
    return HostedModel(
        model=checkpoint.model,
        description=description,
        config=checkpoint.config,
        has_rows_apart=has_rows_apart,
    )
