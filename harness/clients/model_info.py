"""What a server says about the model that it serves."""

from dataclasses import asdict, dataclass
from typing import Any

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2

from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """GetModel as values. `modes` is empty where the model has no search channel."""

    name: str
    family: str
    checkpoint_digest: str
    tokenizer_digest: str
    num_parameters: int
    state_bytes: int
    # What every token of the context adds; 0 where the state does not grow.
    state_bytes_per_token: int
    context_limit: int | None
    engine: str
    engine_version: str
    dtype: str
    device: str
    vocabulary_size: int
    num_slots: int
    max_prompt_tokens: int
    modes: tuple[Mode, ...]
    styles: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For the manifest of a run."""
        return asdict(self)


def model_info(message: pb.GetModelResponse) -> ModelInfo:
    """From the wire."""
    return ModelInfo(
        name=message.name,
        family=pb.ModelFamily.Name(message.family).removeprefix("MODEL_FAMILY_"),
        checkpoint_digest=message.checkpoint_digest,
        tokenizer_digest=message.tokenizer_digest,
        num_parameters=message.num_parameters,
        state_bytes=message.state_bytes,
        state_bytes_per_token=message.state_bytes_per_token,
        context_limit=message.context_limit if message.HasField("context_limit") else None,
        engine=message.engine,
        engine_version=message.engine_version,
        dtype=message.dtype,
        device=message.device,
        vocabulary_size=message.vocabulary_size,
        num_slots=message.num_slots,
        max_prompt_tokens=message.max_prompt_tokens,
        modes=tuple(mode for mode in Mode if mode_to_wire(mode) in message.search_channel.modes),
        styles=tuple(message.styles),
    )


def mode_to_wire(mode: Mode) -> retrieval_pb2.RetrievalMode.ValueType:
    """The enum value of a kind of search."""
    return retrieval_pb2.RetrievalMode.Value(f"RETRIEVAL_MODE_{mode.name}")
