"""ReMamba over Mamba2 as its description says it: one sequence, read twice.

Slow, and what the fast paths are held to.
Shapes: L tokens, M tokens that are read again, D width, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.models.mamba2_reference import reference_mix
from harness_servers.models.remamba2 import ReMamba2Model


@torch.inference_mode()
def reference_logits(
    model: ReMamba2Model, tokens: Sequence[int], num_prompt: int | None = None
) -> Tensor:
    """Logits (L, V) after every token; None: of a prompt that has not ended.

    Those before the last of the prompt's `num_prompt` tokens are of the first reading.
    """
    embedded_LD = model.backbone.embeddings.weight[torch.tensor(tokens)]
    plain_LD = _read(model, list(embedded_LD), [None] * len(tokens))
    if num_prompt is None:
        return plain_LD @ model.head_weight.T
    shape = model.selection.shape
    start = int(num_prompt * shape.stretch_start)
    end = min(start + math.ceil(num_prompt * shape.stretch_share), num_prompt - 1)
    scores = {place: _score(model, plain_LD, place, num_prompt) for place in range(start, end)}
    num_kept = math.ceil(shape.kept_share * len(scores))
    kept = sorted(sorted(scores, key=lambda place: -scores[place])[:num_kept])
    first, last = list(embedded_LD[:start]), list(embedded_LD[max(start, end) :])
    values = [plain_LD[place] @ model.selection.value.weight.T for place in kept]
    told: list[float | None] = [None] * len(first)
    told += [scores[place] for place in kept]
    told += [None] * len(last)
    again_MD = _read(model, [*first, *values, *last], told)
    num_after = len(tokens) - num_prompt + 1
    hidden_LD = torch.cat([plain_LD[: num_prompt - 1], again_MD[-num_after:]])
    return hidden_LD @ model.head_weight.T


def _score(model: ReMamba2Model, hidden_LD: Tensor, place: int, num_prompt: int) -> float:
    key = model.selection.key.weight @ hidden_LD[place]
    query = model.selection.query.weight @ hidden_LD[num_prompt - 1]
    return float(key @ query / (key.norm() * query.norm()))


def _read(model: ReMamba2Model, inputs: list[Tensor], told: list[float | None]) -> Tensor:
    """After the last norm (M, D), of tokens whose scores are told where they stand for others."""
    hidden_MD = torch.stack(inputs)
    scale_M1 = torch.tensor([[1.0] if score is None else [max(score, 0.0)] for score in told])
    is_kept_M1 = torch.tensor([[0.0 if score is None else 1.0] for score in told])
    for layer, block in model.backbone.blocks():
        adaptation = scale_M1, is_kept_M1 * model.selection.dt_shift[layer]
        hidden_MD = hidden_MD + reference_mix(block.mixer, block.norm(hidden_MD), adaptation)
    normed_MD: Tensor = model.backbone.norm_f(hidden_MD)
    return normed_MD
