"""Log-probabilities of tokens, by the logits that were there before them.

Shapes: T places, V vocabulary, K likeliest tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.generation import TokenLogProb


def token_log_probs(
    logits_TV: Tensor, token_ids: Sequence[int], nums_top: Sequence[int]
) -> list[TokenLogProb]:
    """Of one token at each place, with as many of the likeliest as `nums_top` has for it.

    log_softmax of the logits as they are: before temperature, top_k and top_p. Made of sums: the
    logits are not copied as a whole.
    """
    logits_TV = logits_TV.float()
    total_T1 = logits_TV.logsumexp(dim=-1, keepdim=True)
    tokens_T1 = torch.tensor(token_ids)[:, None]
    own_T: list[float] = (logits_TV.gather(1, tokens_T1) - total_T1)[:, 0].tolist()
    logits_TK, tokens_TK = logits_TV.topk(min(max(nums_top), logits_TV.shape[1]), dim=-1)
    likeliest_TK = zip(tokens_TK.tolist(), (logits_TK - total_T1).tolist(), strict=True)
    return [
        TokenLogProb(
            token_id=token,
            log_prob=own,
            top=tuple(zip(tokens_K[:num_top], log_probs_K[:num_top], strict=True)),
        )
        for token, own, num_top, (tokens_K, log_probs_K) in zip(
            token_ids, own_T, nums_top, likeliest_TK, strict=True
        )
    ]
