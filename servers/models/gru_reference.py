"""The GRU as its equations say it, token by token: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.models.gru import GruModel


@torch.inference_mode()
def reference_logits(model: GruModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    weights = model.state_dict()
    words_VD = weights["words.weight"]
    hidden = [torch.zeros(words_VD.shape[1]) for _ in model.layers]
    logits = []
    for token in tokens:
        x_D = words_VD[token]
        for k in range(len(hidden)):
            w_x, w_h, bias_x, bias_h = (
                weights[f"stack.{k}.gru.{name}_l0"]
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            of_input, of_past = w_x @ x_D + bias_x, w_h @ hidden[k] + bias_h
            (r_x, z_x, n_x), (r_h, z_h, n_h) = of_input.chunk(3), of_past.chunk(3)
            reset_D, update_D = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
            new_D = (n_x + reset_D * n_h).tanh()
            hidden[k] = (1 - update_D) * new_D + update_D * hidden[k]
            x_D = hidden[k]
        logits.append(words_VD @ x_D + weights["head_bias"])
    return torch.stack(logits)
