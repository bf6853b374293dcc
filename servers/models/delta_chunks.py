"""Delta rules over chunks of tokens: a triangular system a chunk, a matrix product between them.

Within a chunk every token adds to the state an outer product of a key and what it writes, and what
it writes depends linearly on what those before it have written and on the state S that the chunk
began with (the WY representation: Yang et al., arXiv 2406.06484, section 3.2; with decay:
arXiv 2412.06464, section 3.3):

    written = target - recall S - overlap written       outputs = query S + score written
    next S = decay S + write^T written + gain

Shapes, all after leading dimensions: C chunks, Q tokens of a chunk, K keys, V values.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaChunks:
    """The coefficients above, decays within the chunk included."""

    # Strictly lower triangular: what of an earlier token's write a token reads.
    overlap_CQQ: Tensor
    target_CQV: Tensor
    recall_CQK: Tensor
    write_CQK: Tensor
    decay_CK: Tensor
    query_CQK: Tensor
    # Lower triangular.
    score_CQQ: Tensor
    gain_CKV: Tensor | None = None


def run_chunks(chunks: DeltaChunks, state_KV: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (C, Q, V) and the state after the last chunk, with gradients."""
    right_CQ = torch.cat([chunks.target_CQV, chunks.recall_CQK], -1)
    solved_CQ = torch.linalg.solve_triangular(
        chunks.overlap_CQQ, right_CQ, upper=False, unitriangular=True
    )
    target_CQV, recall_CQK = solved_CQ.split([state_KV.shape[-1], state_KV.shape[-2]], -1)
    write_CKQ = chunks.write_CQK.mT
    gain_CKV = write_CKQ @ target_CQV
    if chunks.gain_CKV is not None:
        gain_CKV = gain_CKV + chunks.gain_CKV
    step_CKK = torch.diag_embed(chunks.decay_CK) - write_CKQ @ recall_CQK
    starts = []
    for step_KK, gain_KV in zip(step_CKK.unbind(-3), gain_CKV.unbind(-3), strict=True):
        starts.append(state_KV)
        state_KV = step_KK @ state_KV + gain_KV
    start_CKV = torch.stack(starts, -3)
    written_CQV = target_CQV - recall_CQK @ start_CKV
    return chunks.query_CQK @ start_CKV + chunks.score_CQQ @ written_CQV, state_KV
