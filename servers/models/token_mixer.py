"""What a layer does along a sequence, and layers made of it: the contract of the architectures.

A subclass of TokenMixer says how one token changes a state that does not grow; what is faster for
many tokens at once, and what is trained, it may say in its own words.
Shapes: B sequences, L tokens, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from harness_servers.models.caches import NUM_READ

# One layer's state of some sequences: tensors (B, ...) by name. Of a mixer that knows where in its
# sequence it is, "num_read" (B) says how many tokens came before: it is there to be read. A tensor
# whose name begins with "cache." has room (B, T, ...) for as many tokens as will have been read.
RowState = dict[str, Tensor]


class TokenMixer(nn.Module):
    """Passes something on from token to token."""

    knows_position: bool = False

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """Before the first token. Sums over tokens are kept in float32."""
        raise NotImplementedError

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """Reads one token a row: the outputs (B, D), and what changed of the states."""
        raise NotImplementedError

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Reads whole rows from empty states, with gradients: (B, L, D)."""
        state = self.init_state(len(hidden_BLD), hidden_BLD.device)
        outputs = []
        for hidden_BD in hidden_BLD.unbind(1):
            output_BD, state = self.step(hidden_BD, state)
            outputs.append(output_BD)
        return torch.stack(outputs, 1)

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """Reads the first `lengths_B` tokens of each row; outputs behind them mean nothing."""
        outputs = []
        for t, hidden_BD in enumerate(hidden_BLD.unbind(1)):
            output_BD, after = self.step(hidden_BD, state)
            outputs.append(output_BD)
            is_read_B = t < lengths_B
            after = {name: choose_rows(is_read_B, after[name], state[name]) for name in after}
            state = {**state, **after}
            if NUM_READ in state:
                state[NUM_READ] = state[NUM_READ] + is_read_B
        return torch.stack(outputs, 1), {name: state[name] for name in after}


class ResidualLayer(TokenMixer):
    """Branch after branch, each added to what it was given: a norm, then what the branch does.

    A branch that is no TokenMixer knows each token alone, as a feed-forward part does.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        """Norm and branch in turn, by the names that their layout has for them."""
        super().__init__()
        names = list(parts)
        self._branches = list(zip(names[::2], names[1::2], strict=True))
        for name, part in parts.items():
            self.add_module(name, part)
        mixers = [part for part in parts.values() if isinstance(part, TokenMixer)]
        self.knows_position = any(mixer.knows_position for mixer in mixers)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """That of its branches together; their names differ."""
        return {
            name: tensor
            for _, branch in self._pairs()
            if isinstance(branch, TokenMixer)
            for name, tensor in branch.init_state(num_rows, device).items()
        }

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        for norm, branch in self._pairs():
            given_BD = norm(hidden_BD)
            if isinstance(branch, TokenMixer):
                output_BD, changed = branch.step(given_BD, state)
                state = {**state, **changed}
            else:
                output_BD = branch(given_BD)
            hidden_BD = hidden_BD + output_BD
        return hidden_BD, state

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        for norm, branch in self._pairs():
            hidden_BLD = hidden_BLD + branch(norm(hidden_BLD))
        return hidden_BLD

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        for norm, branch in self._pairs():
            given_BLD = norm(hidden_BLD)
            if isinstance(branch, TokenMixer):
                output_BLD, changed = branch.read(given_BLD, lengths_B, state)
                state = {**state, **changed}
            else:
                output_BLD = branch(given_BLD)
            hidden_BLD = hidden_BLD + output_BLD
        return hidden_BLD, state

    def _pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(getattr(self, norm), getattr(self, branch)) for norm, branch in self._branches]


def choose_rows(is_first_B: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Each row (B, ...) from the first or from the second."""
    return torch.where(is_first_B.view(-1, *[1] * (first.dim() - 1)), first, second)
