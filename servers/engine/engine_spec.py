"""What an engine in a process of its own is made from. Light: torch lives in that process alone."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harnessapi.devices import AUTO
from harnessapi.observing.logs import LogFormat
from harnessapi.values import ModelDescription

from harness_servers.checkpoints.checkpoint_config import CheckpointConfig
from harness_servers.engine.engine_options import EngineOptions

if TYPE_CHECKING:
    from harness_servers.models.protocol import SequenceModel


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSpec:
    """What is loaded, and how it is run and described; travels to the process as a whole."""

    # "module:function", which is imported there: takes this spec and gives a HostedModel. Raises
    # CheckpointError.
    load: str
    folder: Path
    options: EngineOptions
    # Of a step; None: as many as are measured to be best, see threads.py.
    threads: int | None
    max_prompt_tokens: int
    # Of DEVICES: what the model computes on, where it has a choice.
    device: str = AUTO
    # None: as the checkpoint has them.
    name: str | None = None
    styles: tuple[str, ...] | None = None
    # Of the state that a question finds; None: the whole state.
    state_bits: int | None = None
    log_format: LogFormat = LogFormat.TEXT
    # As harnessapi.cache_policy reads it; None: as the checkpoint has it.
    cache_policy: str | None = None

    def load_model(self) -> "HostedModel":
        """Calls `load`."""
        module, _, name = self.load.partition(":")
        load: Callable[[EngineSpec], HostedModel] = getattr(importlib.import_module(module), name)
        return load(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class HostedModel:
    """A model, and what the process in front of it is told of it."""

    model: "SequenceModel"
    description: ModelDescription
    config: CheckpointConfig
    # Threads may share a step's rows; else they share each of its operations.
    has_rows_apart: bool
