"""One forward pass of a model of transformers, whatever it calls its memory and wherever that is.

Shapes: R rows, L tokens, V vocabulary.
"""

import inspect
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from harness_servers.models.memory import Memory, Place
from harness_servers.models.protocol import ConfigError

# What a forward pass takes and gives back as its memory, by the name that the model has for it.
_CACHE_NAMES: Final = ("past_key_values", "cache_params", "state")
# Model types whose modules keep a sequence's state themselves, under these names.
_KEPT_IN_MODULES: Final = {"recurrent_gemma": ("conv1d_state", "recurrent_states")}


class ForwardPass:
    """Reads tokens into a Memory, on the model's device; tokens and logits are on the CPU."""

    def __init__(self, model: Any, new_cache: Callable[[], Any]) -> None:
        """`new_cache` makes an empty cache, for models that would not give back their own.

        Raises ConfigError for one that cannot be continued.
        """
        model_type = model.config.get_text_config().model_type
        parameters = inspect.signature(model.forward).parameters
        names = [name for name in _CACHE_NAMES if name in parameters]
        if not names:
            raise ConfigError(f"config.json: {model_type} keeps no cache to write on from")
        self._model = model
        self._new_cache = new_cache
        self._cache_name = names[0]
        self._only_last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._taken = parameters.keys() & {"position_ids", "attention_mask"}
        self._kept: list[Place] = _find_kept(model, _KEPT_IN_MODULES.get(model_type, ()))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self._model.device
        return device

    def __call__(
        self,
        tokens_RL: Tensor,
        memory: Memory,
        *,
        position_ids: Tensor,
        attention_mask: Tensor | None = None,
        wants_all: bool = False,
    ) -> Tensor:
        """Logits (R, _, V): after all of the tokens, or after the last and as many as come."""
        if self._kept and memory.cache is None:
            # Such a model would begin one that it never gives back.
            memory.cache = self._new_cache()
        for place in self._kept:
            setattr(*place, memory.kept.get(place))
        told = {"position_ids": position_ids, "attention_mask": attention_mask}
        output = self._model(
            input_ids=tokens_RL.to(self.device),
            use_cache=True,
            **{self._cache_name: memory.cache},
            **({} if wants_all else self._only_last),
            **{
                name: tensor.to(self.device)
                for name, tensor in told.items()
                if tensor is not None and name in self._taken
            },
        )
        for place in self._kept:
            memory.kept[place] = getattr(*place)
        memory.cache = memory.cache if self._kept else output[self._cache_name]
        logits: Tensor = output.logits.cpu()
        return logits


def _find_kept(model: nn.Module, names: tuple[str, ...]) -> list[Place]:
    return [(module, name) for module in model.modules() for name in names if hasattr(module, name)]
