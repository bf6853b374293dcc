"""The gated delta rule: a state that forgets, and unlearns a key's value before it learns another.

    S[t] = decay[t] (1 - strength[t] k[t] k[t]^T) S[t-1] + strength[t] k[t] v[t]^T
    y[t] = S[t]^T q[t]

Source: Yang et al., "Gated Delta Networks", arXiv 2412.06464, section 3.1 (there S is transposed).
Shapes: B sequences, L tokens, H heads, C chunks of Q tokens, K keys, V values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness_servers.models.chunked_mixer import into_chunks, out_of_chunks
from harness_servers.models.delta_chunks import DeltaChunks, run_chunks


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaInputs:
    """Of one token a row, or, with a dimension L before H, of many."""

    query_BHK: Tensor
    key_BHK: Tensor
    value_BHV: Tensor
    log_decay_BH: Tensor
    strength_BH: Tensor


def delta_step(given: DeltaInputs, state_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row: outputs (B, H, V) and the state after it."""
    kept_BHKV = state_BHKV * torch.exp(given.log_decay_BH)[..., None, None]
    recalled_BHV = (given.key_BHK[..., None, :] @ kept_BHKV)[..., 0, :]
    written_BHV = given.strength_BH[..., None] * (given.value_BHV - recalled_BHV)
    state_BHKV = kept_BHKV + given.key_BHK[..., None] * written_BHV[..., None, :]
    return (given.query_BHK[..., None, :] @ state_BHKV)[..., 0, :], state_BHKV


def delta_rows(given: DeltaInputs, state_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """All tokens of rows: outputs (B, L, H, V) and the state after them, with gradients.

    A token with strength and log decay 0 leaves the state as it is.
    """
    length = given.value_BHV.shape[1]
    query, key, value = map(into_chunks, (given.query_BHK, given.key_BHK, given.value_BHV))
    strength = into_chunks(given.strength_BH[..., None])
    # Summed up, so that none of the chunk's decays is ever divided by another.
    log_decay = into_chunks(given.log_decay_BH[..., None]).cumsum(-2)
    since_QQ = (log_decay - log_decay.mT).masked_fill(_is_later(log_decay), -torch.inf).exp()
    strong_key, decay = strength * key, log_decay.exp()
    until_end = (log_decay[..., -1:, :] - log_decay).exp()
    chunks = DeltaChunks(
        overlap_CQQ=(strong_key @ key.mT * since_QQ).tril(-1),
        target_CQV=strength * value,
        recall_CQK=strong_key * decay,
        write_CQK=key * until_end,
        decay_CK=decay[..., -1, :].expand(*key.shape[:-2], key.shape[-1]),
        query_CQK=query * decay,
        score_CQQ=query @ key.mT * since_QQ,
    )
    output_BHCQV, state_BHKV = run_chunks(chunks, state_BHKV)
    return out_of_chunks(output_BHCQV, length), state_BHKV


def _is_later(tokens_CQD: Tensor) -> Tensor:
    """(Q, Q), true where the column's token comes after the row's."""
    size = tokens_CQD.shape[-2]
    return torch.ones(size, size, dtype=torch.bool, device=tokens_CQD.device).triu(1)
