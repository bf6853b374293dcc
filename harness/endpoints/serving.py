"""The part of endpoints.toml about checkpoints: how the server of one is started."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harnessapi.cache_policy import CachePolicyError, parse_cache_policy
from harnessapi.devices import DEVICES

from harness.errors import InputError, unknown_name
from harness.way import Style

KEYS: Final = (
    "backend",
    "device",
    "styles",
    "threads",
    "state_bits",
    "cache_policy",
    "start_timeout_s",
)
# What `harness serve model --backend` takes.
BACKENDS: Final = ("auto", "engine", "vllm", "transformers")
START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """How a checkpoint is served; None: as the server does by itself."""

    backend: str | None = None
    # What it computes on, of DEVICES.
    device: str | None = None
    # The styles of prompts that the model reads, where its config.json does not say.
    styles: tuple[Style, ...] | None = None
    # Of a step of the model.
    threads: int | None = None
    # Of the state that a question finds.
    state_bits: int | None = None
    # Which tokens its caches keep.
    cache_policy: str | None = None
    start_timeout_s: float = START_TIMEOUT_S

    @property
    def arguments(self) -> tuple[str, ...]:
        """Options of `harness serve model`; two servers with the same are the same."""
        told = {
            "--backend": self.backend,
            "--device": self.device,
            "--styles": ",".join(self.styles) if self.styles else None,
            "--threads": self.threads,
            "--state-bits": self.state_bits,
            "--cache-policy": self.cache_policy,
        }
        return tuple(
            str(part) for name, value in told.items() if value is not None for part in (name, value)
        )


def parse_serving(table: Mapping[str, Any]) -> Serving:
    """From the table of an endpoint. Raises InputError naming what is wrong."""
    given = [key for key in KEYS if key in table]
    if given and "checkpoint" not in table:
        raise InputError(f"{given[0]} is for a checkpoint: who is at an address is started already")
    return Serving(
        backend=_name("backend", table["backend"], BACKENDS) if "backend" in table else None,
        device=_name("device", table["device"], DEVICES) if "device" in table else None,
        styles=_styles(table["styles"]) if "styles" in table else None,
        threads=_threads(table.get("threads")),
        state_bits=_state_bits(table),
        cache_policy=_cache_policy(table.get("cache_policy")),
        start_timeout_s=_seconds(table.get("start_timeout_s", START_TIMEOUT_S)),
    )


def _name(key: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in known:
        raise unknown_name(key, str(value), known)
    return value


def _styles(value: object) -> tuple[Style, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"styles = {value!r}: it has to be a list of {', '.join(Style)}")
    return tuple(Style(_name("styles", style, tuple(Style))) for style in value)


def _threads(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise InputError(f"threads = {value!r}: it has to be a whole number above 0")
    return value


def _state_bits(table: Mapping[str, Any]) -> int | None:
    value = table.get("state_bits")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 8 or value % 8:
        raise InputError(f"state_bits = {value!r}: it has to be a multiple of 8, at least 8")
    if table.get("retrieval"):
        raise InputError(
            "state_bits and retrieval = true exclude each other: a search would read again what "
            "the bits have not kept"
        )
    return value


def _cache_policy(value: object) -> str | None:
    if value is None:
        return None
    try:
        parse_cache_policy(str(value))
    except CachePolicyError as error:
        raise InputError(f"cache_policy = {error}") from error
    return str(value)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 10**9:
        raise InputError(f"start_timeout_s = {value!r}: it has to be a number of seconds above 0")
    return float(value)
