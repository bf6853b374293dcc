"""The slots' state: tensors that never grow, with the slot as first dimension."""

from collections.abc import Sequence

import torch

from servers.models.protocol import SequenceModel, State


class StatePool:
    """The state of `num_slots` sequences, written in place by the model."""

    def __init__(self, model: SequenceModel, num_slots: int) -> None:
        self.state: State = model.init_state(num_slots)
        self._fresh = model.init_state(1)

    def reset(self, slots: Sequence[int]) -> None:
        """Makes these slots those of sequences that have read nothing."""
        index = torch.tensor(slots)
        for name, tensor in self.state.items():
            tensor[index] = self._fresh[name]

    def snapshot(self, slot: int) -> State:
        """A copy of one slot's state."""
        return {name: tensor[slot].clone() for name, tensor in self.state.items()}

    def restore(self, slot: int, snapshot: State) -> None:
        """Makes a slot what it was when the snapshot was taken, of this slot or another."""
        for name, tensor in self.state.items():
            tensor[slot] = snapshot[name]

    def num_bytes(self) -> int:
        """Bytes that the tensors take."""
        return sum(tensor.nbytes for tensor in self.state.values())
