"""Proves that a model reads a text in pieces as it reads it at once: the engine does both.

Shapes: L tokens, V vocabulary.
"""

from typing import Final

import torch
from torch import Tensor

from harness_servers.models.protocol import SequenceModel

# More than the usual convolution remembers, in pieces of several tokens and of one.
_PIECES: Final = (5, 4, 3, 1)
# Of the largest logit. What rounding does stays a hundred times below; a wrong reading far above.
_TOLERANCE: Final = 1e-3


@torch.inference_mode()
def reads_in_pieces(model: SequenceModel) -> bool:
    """True where the logits are the same but for rounding."""
    tokens_L = _tokens(model.vocabulary_size)
    whole_V = _read(model, [tokens_L])
    pieces_V = _read(model, list(tokens_L.split(_PIECES)))
    close = (whole_V - pieces_V).abs().max() <= _TOLERANCE * whole_V.abs().max()
    return bool(close)


def _tokens(vocabulary_size: int) -> Tensor:
    places_L = torch.arange(sum(_PIECES))
    return (7 * places_L * places_L + 3) % vocabulary_size


def _read(model: SequenceModel, pieces: list[Tensor]) -> Tensor:
    state = model.init_state(1)
    slots = torch.tensor([0])
    logits = torch.empty(0)
    for piece_L in pieces:
        if len(piece_L) == 1:
            logits = model.decode(piece_L, state, slots)
        else:
            logits = model.prefill(piece_L[None], torch.tensor([len(piece_L)]), state, slots)
    return logits[0]
