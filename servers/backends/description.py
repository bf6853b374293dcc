"""Describes what is served, the same way for every backend."""

import json
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final

from harnessapi.values import IN_BATCHES, Mode, ModelDescription

from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.generation import MAX_TOP_LOG_PROBS
from harness_servers.models.protocol import ModelShape

OWN_DISTRIBUTION: Final = "recall-harness"


def describe(
    checkpoint: Checkpoint[ModelShape],
    *,
    distribution: str,
    num_slots: int,
    max_prompt_tokens: int,
    name: str,
    styles: tuple[str, ...] | None,
    device: str = "cpu",
    decoding: str = IN_BATCHES,
    state_bits: int = 0,
    cache_policy: str = "",
) -> ModelDescription:
    """`distribution` is the installed package whose engine runs the model, in float32.

    `styles`: where they are told otherwise than in the checkpoint.
    """
    model, codec = checkpoint.model, checkpoint.codec
    # A search would read again what the bits have not kept: then they would bound nothing.
    markers = None if state_bits else codec.markers
    return ModelDescription(
        name=name,
        family=model.family,
        checkpoint_digest=checkpoint.digest,
        tokenizer_digest=checkpoint.tokenizer_digest,
        num_parameters=checkpoint.num_parameters,
        state_bytes=model.state_bytes(),
        state_bytes_per_token=model.state_bytes_per_token(),
        state_bits=state_bits,
        cache_policy=cache_policy,
        context_limit=model.context_limit,
        engine=distribution,
        engine_version=_version(distribution),
        dtype="float32",
        stored_dtype=checkpoint.stored_dtype,
        device=device,
        decoding=decoding,
        vocabulary_size=model.vocabulary_size,
        num_slots=num_slots,
        max_prompt_tokens=max_prompt_tokens,
        markers=markers,
        modes=tuple(Mode) if markers is not None else (),
        takes_searched_text=markers is not None,
        styles=styles or checkpoint.config.styles or codec.styles,
        trained_tasks=checkpoint.card.trained_tasks,
        trained_on=checkpoint.card.trained_on,
        trained_by=checkpoint.card.trained_by,
        config_json=_config_json(checkpoint.config.raw),
        has_chat_template=codec.chat_template is not None,
        max_top_log_probs=MAX_TOP_LOG_PROBS,
    )


def _config_json(config: Mapping[str, Any]) -> str:
    """Some writers leave a path of their own machine under a name with an underscore."""
    return json.dumps({key: value for key, value in config.items() if not key.startswith("_")})


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
