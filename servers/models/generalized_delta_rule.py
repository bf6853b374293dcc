"""RWKV-7's generalised delta rule: each key decays, and unlearns, in a measure of its own.

    S[t] = (diag(decay[t]) - (strength[t] erased[t]) erased[t]^T) S[t-1] + k[t] v[t]^T
    y[t] = S[t]^T q[t]

Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv 2503.14456,
its time mixing (there S is transposed). In chunks as other delta rules (delta_chunks.py).
Shapes: B sequences, L tokens, H heads, C chunks of Q tokens, K keys, V values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness_servers.models.chunked_mixer import into_chunks, out_of_chunks
from harness_servers.models.delta_chunks import DeltaChunks, run_chunks


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralizedDeltaInputs:
    """Of one token a row, or, with a dimension L before H, of many."""

    query_BHK: Tensor
    key_BHK: Tensor
    value_BHV: Tensor
    # At least -4: a chunk's decays are divided by one another.
    log_decay_BHK: Tensor
    erased_BHK: Tensor
    strength_BHK: Tensor


def delta_step(given: GeneralizedDeltaInputs, state_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row: outputs (B, H, V) and the state after it."""
    recalled_BHV = (given.erased_BHK[..., None, :] @ state_BHKV)[..., 0, :]
    unlearnt_BHKV = (given.strength_BHK * given.erased_BHK)[..., None] * recalled_BHV[..., None, :]
    learnt_BHKV = given.key_BHK[..., None] * given.value_BHV[..., None, :]
    kept_BHKV = torch.exp(given.log_decay_BHK)[..., None] * state_BHKV
    state_BHKV = kept_BHKV - unlearnt_BHKV + learnt_BHKV
    return (given.query_BHK[..., None, :] @ state_BHKV)[..., 0, :], state_BHKV


def delta_rows(given: GeneralizedDeltaInputs, state_BHKV: Tensor) -> tuple[Tensor, Tensor]:
    """All tokens of rows: outputs (B, L, H, V) and the state after them, with gradients.

    A token with key, strength and log decay 0 leaves the state as it is.
    """
    value, erased = into_chunks(given.value_BHV), into_chunks(given.erased_BHK)
    log_decay = into_chunks(given.log_decay_BHK)
    until = log_decay.cumsum(-2)
    # Writes in what they amount to at the chunk's beginning, reads in what is left of that.
    grown = (-until).exp()
    key = into_chunks(given.key_BHK) * grown
    written_key = -erased * into_chunks(given.strength_BHK) * grown
    # A token erases from the state before its own decay.
    erased = erased * (until - log_decay).exp()
    query = into_chunks(given.query_BHK) * until.exp()
    last = until[..., -1, :].exp()
    chunks = DeltaChunks(
        overlap_CQQ=-(erased @ written_key.mT).tril(-1),
        target_CQV=(erased @ key.mT).tril(-1) @ value,
        recall_CQK=-erased,
        write_CQK=written_key * last[..., None, :],
        decay_CK=last,
        query_CQK=query,
        score_CQQ=(query @ written_key.mT).tril(),
        gain_CKV=(key * last[..., None, :]).mT @ value,
    )
    output_BHCQV, state_BHKV = run_chunks(chunks, state_BHKV)
    output_BHCQV = output_BHCQV + (query @ key.mT).tril() @ value
    return out_of_chunks(output_BHCQV, given.value_BHV.shape[1]), state_BHKV
