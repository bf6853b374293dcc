"""What a model of transformers keeps of a sequence, found out without any of its weights.

A forward pass on torch's device meta computes nothing and takes no memory, whatever the size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from harness_servers.models.protocol import ConfigError

_FLOAT32_BYTES: Final = 4
# By what a sequence's memory does as it reads: whether all of it stays, whether any of it grows.
_FAMILIES: Final = {
    (True, False): "SSM",
    (False, True): "TRANSFORMER",
    (True, True): "HYBRID",
}
# Of those whose memory does not grow: they look back through a state that is no state space.
_RECURRENT: Final = ("rwkv", "xlstm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """A ModelShape; all of it in float32, as an engine keeps it that computes in that."""

    family: str
    vocabulary_size: int
    context_limit: int | None
    # Of states that stay as they are: what a recurrence and a convolution remember.
    recurrent_bytes: int
    # Of keys and values: what layers keep that look back a window, once it is full.
    window_bytes: int
    # Of those of one token: in all layers, and in those that keep it for good.
    first_token_bytes: int
    lasting_token_bytes: int

    def state_bytes(self) -> int:
        """States, and windows that are full."""
        return self.recurrent_bytes + self.window_bytes

    def state_bytes_per_token(self) -> int:
        """Keys and values of layers that keep them all."""
        return self.lasting_token_bytes


def outline(model: Any) -> Outline:
    """Of a model on the device meta.

    Raises ConfigError where nothing is remembered; whatever a forward pass raises, else.
    """
    config = model.config.get_text_config()
    recurrent, first = _kept(model, 1)
    family = name_family(config.model_type, stays=recurrent > 0, grows=first > 0)
    limit = getattr(config, "max_position_embeddings", None) if first else None
    window = getattr(config, "sliding_window", None) or 1
    # One that is as long as the context never slides.
    num_read = window if limit is None or window < limit else 1
    _, before = _kept(model, num_read)
    _, after = _kept(model, num_read + 1)
    lasting = after - before
    return Outline(
        family=family,
        vocabulary_size=config.vocab_size,
        context_limit=limit,
        recurrent_bytes=recurrent,
        window_bytes=before - lasting * num_read,
        first_token_bytes=first,
        lasting_token_bytes=lasting,
    )


def name_family(model_type: str, *, stays: bool, grows: bool) -> str:
    """By what its memory does. Raises ConfigError where nothing is remembered."""
    if (stays, grows) not in _FAMILIES:
        raise ConfigError(f"config.json: {model_type} remembers nothing of what it reads")
    return "RNN" if model_type in _RECURRENT else _FAMILIES[stays, grows]


@torch.inference_mode()
def _kept(model: Any, num_tokens: int) -> tuple[int, int]:
    """Bytes of states, and of keys and values, after so many tokens."""
    tokens_1L = torch.zeros(1, num_tokens, dtype=torch.long, device="meta")
    # Some make their positions and masks wherever torch makes tensors.
    with torch.device("meta"):
        output = model(input_ids=tokens_1L, use_cache=True)
    cache = output["cache_params"] if "cache_params" in output else output["past_key_values"]
    layers = cache.layers
    states = sum(tensor.numel() for layer in layers for tensor in _states(layer))
    keys_and_values = sum(
        tensor.numel()
        for layer in layers
        for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        if tensor is not None
    )
    return states * _FLOAT32_BYTES, keys_and_values * _FLOAT32_BYTES


def _states(layer: Any) -> Iterator[Tensor]:
    for recurrent in getattr(layer, "recurrent_states", {}).values():
        if recurrent is not None:
            yield recurrent
    for conv in getattr(layer, "conv_states", {}).values():
        if conv is not None:
            # The first of these inputs drops out when the next token is read: engines keep K - 1.
            yield conv[..., 1:]
