"""Proves that a model reads a text in pieces as it reads it at once: the engine does both.

Shapes: L tokens, V vocabulary.
"""

import itertools
from typing import Final

import torch
from torch import Tensor

from harness_servers.models.protocol import SequenceModel, State

# More than the usual convolution remembers, in pieces of several tokens and of one.
_PIECES: Final = [5, 4, 3, 1]
# Of the largest logit. What rounding does stays a hundred times below; a wrong reading far above.
_TOLERANCE: Final = 1e-3


@torch.inference_mode()
def reads_in_pieces(model: SequenceModel) -> bool:
    """True where the logits after every piece are those of the whole up to there.

    But for rounding. After every piece: an error in what the last layer makes of one leaves no
    trace in those that follow.
    """
    tokens_L = _tokens(model.vocabulary_size)
    ends = list(itertools.accumulate(_PIECES))
    # One state after the other: a model may keep what belongs to one beside it.
    wholes = [_read(model, tokens_L[:end], model.init_state(1)) for end in ends]
    state = model.init_state(1)
    piecewise = [_read(model, piece_L, state) for piece_L in torch.split(tokens_L, _PIECES)]
    return all(
        bool((whole_V - piece_V).abs().max() <= _TOLERANCE * whole_V.abs().max())
        for whole_V, piece_V in zip(wholes, piecewise, strict=True)
    )


def _tokens(vocabulary_size: int) -> Tensor:
    places_L = torch.arange(sum(_PIECES))
    return (7 * places_L * places_L + 3) % vocabulary_size


def _read(model: SequenceModel, tokens_L: Tensor, state: State) -> Tensor:
    """Logits (V) after the last of them."""
    slots = torch.tensor([0])
    if len(tokens_L) == 1:
        return model.decode(tokens_L, state, slots)[0]
    return model.prefill(tokens_L[None], torch.tensor([len(tokens_L)]), state, slots)[0]
