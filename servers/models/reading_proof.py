"""Proves that a model reads a text in pieces as it reads it at once: the engine does both.

And that rows do not depend on those that are read with them.
Shapes: B sequences, L tokens, V vocabulary.
"""

import itertools
import math
from collections.abc import Sequence
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
    return are_equal(wholes, piecewise)


@torch.inference_mode()
def logits_of_changing_rows(model: SequenceModel) -> list[Tensor]:
    """The logits (B, V) of steps in which rows of different lengths come, go and return.

    The same whether a model decodes rows together or each by itself.
    """
    tokens, state = iter(_tokens(model.vocabulary_size, 64)), model.init_state(4)

    def next_tokens(*shape: int) -> Tensor:
        return torch.stack([*itertools.islice(tokens, math.prod(shape))]).reshape(shape)

    def prefill(slots: list[int], lengths: list[int]) -> Tensor:
        tokens_BL = next_tokens(len(slots), max(lengths))
        return model.prefill(tokens_BL, torch.tensor(lengths), state, torch.tensor(slots))

    def decode(*slots: int) -> Tensor:
        return model.decode(next_tokens(len(slots)), state, torch.tensor(slots))

    return [
        prefill([0, 1, 2], [5, 2, 2]),
        decode(0, 1),
        decode(0, 1, 2, 3),  # the last has read nothing
        decode(3, 2, 1, 0),
        prefill([0], [3]),  # as after a search
        decode(1, 3),
        decode(0, 1, 2, 3),
        decode(2),
        decode(2, 3),
    ]


def are_equal(expected: Sequence[Tensor], found: Sequence[Tensor]) -> bool:
    """But for rounding, row by row (V); what is no number equals nothing."""
    pairs = zip(expected, found, strict=True)
    return all(
        bool(((one - other).abs().amax(-1) <= _TOLERANCE * one.abs().amax(-1)).all())
        for one, other in pairs
    )


def _tokens(vocabulary_size: int, number: int = sum(_PIECES)) -> Tensor:
    places_L = torch.arange(number)
    return (7 * places_L * places_L + 3) % vocabulary_size


def _read(model: SequenceModel, tokens_L: Tensor, state: State) -> Tensor:
    """Logits (V) after the last of them."""
    slots = torch.tensor([0])
    if len(tokens_L) == 1:
        return model.decode(tokens_L, state, slots)[0]
    return model.prefill(tokens_L[None], torch.tensor([len(tokens_L)]), state, slots)[0]
