"""The LSTM as its equations say it, token by token: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.models.lstm import LstmModel


@torch.inference_mode()
def reference_logits(model: LstmModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    weights = model.state_dict()
    layers = range(model.config.num_hidden_layers)
    hidden = [torch.zeros(model.config.hidden_size) for _ in layers]
    cell = [torch.zeros(model.config.hidden_size) for _ in layers]
    logits = []
    for token in tokens:
        x_D = weights["embedding.weight"][token]
        for k in layers:
            gates = (
                weights[f"lstm.weight_ih_l{k}"] @ x_D
                + weights[f"lstm.bias_ih_l{k}"]
                + weights[f"lstm.weight_hh_l{k}"] @ hidden[k]
                + weights[f"lstm.bias_hh_l{k}"]
            )
            i_D, f_D, g_D, o_D = gates.chunk(4)
            cell[k] = f_D.sigmoid() * cell[k] + i_D.sigmoid() * g_D.tanh()
            hidden[k] = o_D.sigmoid() * cell[k].tanh()
            x_D = hidden[k]
        logits.append(weights["embedding.weight"] @ x_D + weights["head_bias"])
    return torch.stack(logits)
