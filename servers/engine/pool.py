"""The slots' state, with the slot as first dimension: of one size, except for caches."""

from collections.abc import Sequence

import torch

from harness_servers.models.caches import is_cache, num_rows, reserve
from harness_servers.models.protocol import SequenceModel, State


class StatePool:
    """The state of `num_slots` sequences, written in place by the model."""

    def __init__(self, model: SequenceModel, num_slots: int) -> None:
        self.state: State = model.init_state(num_slots)
        fresh = model.init_state(1)
        self._fresh = {name: tensor for name, tensor in fresh.items() if not is_cache(name)}

    @torch.inference_mode()
    def reset(self, slots: Sequence[int]) -> None:
        """Makes these slots those of sequences that have read nothing."""
        for name, tensor in self.state.items():
            if is_cache(name):
                for slot in slots:
                    tensor[slot, : num_rows(self.state, slot)] = 0
        index = torch.tensor(slots)
        for name, fresh in self._fresh.items():
            self.state[name][index] = fresh

    def snapshot(self, slot: int) -> State:
        """A copy of one slot's state; of its caches only the rows in use."""
        used = num_rows(self.state, slot)
        return {
            name: (tensor[slot, :used] if is_cache(name) else tensor[slot]).clone()
            for name, tensor in self.state.items()
        }

    @torch.inference_mode()
    def restore(self, slot: int, snapshot: State) -> None:
        """Makes a slot what it was when the snapshot was taken, of this slot or another."""
        self.reset([slot])
        for name, saved in snapshot.items():
            if is_cache(name):
                reserve(self.state, len(saved))
                self.state[name][slot, : len(saved)] = saved
            else:
                self.state[name][slot] = saved

    def num_bytes(self) -> int:
        """Bytes that the tensors take."""
        return state_bytes(self.state)


def state_bytes(state: State) -> int:
    """Bytes that the tensors of a pool or of a snapshot take."""
    return sum(tensor.nbytes for tensor in state.values())
