"""A model whose state passes through so many bits wherever a question begins.

All that is known of a context when its question comes is then a code of so many bits: what is
answered is a function of that code and of the question. So are the logits after every token, as the
question itself is read after it.

Shapes: B sequences, L tokens, T tokens of all rows, V vocabulary, E entries of a state.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

import torch
from torch import Tensor

from harness_servers.models.protocol import SequenceModel, State
from harness_servers.models.state_code import StateCode

# Tensors of a state that hold its last few tokens as they came (convolutions, token shifts): the
# same before every question of a task, but for the last of its values. Their mean is kept of them.
_SHORT_TERM: Final = ("conv.", "shift.", "channel_shift.")
# Contexts that are read at once to fit a code.
_BATCH: Final = 32

Read = Callable[[Tensor, Tensor, State, Tensor], Tensor]


class NarrowModel:
    """A SequenceModel around another whose state does not grow. See `SequenceModel`.

    The state after a text is a function of the text as ever, so slots and snapshots stay right.
    """

    def __init__(
        self,
        model: SequenceModel,
        *,
        num_bits: int,
        question_ids: Collection[int],
        contexts: Sequence[Sequence[int]],
    ) -> None:
        """Fits the code. Raises StateCodeError where there is none of so many bits.

        `question_ids`: tokens before each of which the state is narrowed. `contexts`: token ids of
        texts that may stand before one, which the code is fitted to.
        """
        self._model = model
        self.family = model.family
        self.vocabulary_size = model.vocabulary_size
        self.context_limit = model.context_limit
        self._num_bits = num_bits
        self._question_ids = torch.tensor(sorted(question_ids))
        self._kept, self._dropped = _names(model)
        self._code, self._means = self._fit(contexts)

    def init_state(self, num_slots: int) -> State:
        """See SequenceModel.init_state."""
        return self._model.init_state(num_slots)

    def state_bytes(self) -> int:
        """What is left of a context when its question is read."""
        return self._num_bits // 8

    def state_bytes_per_token(self) -> int:
        """Nothing grows."""
        return 0

    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.prefill."""
        if not self._has_question(tokens_BL):
            return self._model.prefill(tokens_BL, lengths_B, state, slots_B)
        pieces = self._read_pieces(self._model.prefill, tokens_BL, lengths_B, state, slots_B)
        return torch.cat([logits[-1] for logits in pieces])

    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        if not self._has_question(tokens_BL):
            return self._model.read_all(tokens_BL, lengths_B, state, slots_B)
        pieces = self._read_pieces(self._model.read_all, tokens_BL, lengths_B, state, slots_B)
        return torch.cat([piece for logits in pieces for piece in logits])

    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """See SequenceModel.decode."""
        for slot in slots_B[torch.isin(tokens_B, self._question_ids)].tolist():
            self._narrow(state, slot)
        return self._model.decode(tokens_B, state, slots_B)

    def _has_question(self, tokens_BL: Tensor) -> bool:
        return bool(torch.isin(tokens_BL, self._question_ids).any())

    def _read_pieces(
        self, read: Read, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> list[list[Tensor]]:
        """The logits of each row's pieces: every one but the first begins with a question."""
        logits: list[list[Tensor]] = []
        for tokens_L, length, slot in zip(
            tokens_BL, lengths_B.tolist(), slots_B.tolist(), strict=True
        ):
            is_question_L = torch.isin(tokens_L[:length], self._question_ids)
            starts = is_question_L.nonzero()[:, 0].tolist()
            ends = [*(start for start in starts if start), length]
            logits.append([])
            for start, end in zip([0, *ends[:-1]], ends, strict=True):
                if is_question_L[start]:
                    self._narrow(state, slot)
                piece_L, lengths = tokens_L[None, start:end], torch.tensor([end - start])
                logits[-1].append(read(piece_L, lengths, state, torch.tensor([slot])))
        return logits

    @torch.inference_mode()
    def _narrow(self, state: State, slot: int) -> None:
        """One slot at a time: a product of several rounds otherwise, and rounding decides a bit."""
        state_E = torch.cat([state[name][slot].flatten() for name in self._kept])
        narrowed_E = self._code.decode(self._code.encode(state_E))
        sizes = [state[name][slot].numel() for name in self._kept]
        parts = torch.split_with_sizes(narrowed_E, sizes)
        for name, part in zip(self._kept, parts, strict=True):
            state[name][slot] = part.view_as(state[name][slot])
        for name in self._dropped:
            state[name][slot] = self._means[name]

    @torch.inference_mode()
    def _fit(self, contexts: Sequence[Sequence[int]]) -> tuple[StateCode, State]:
        kept: list[Tensor] = []
        sums = {name: torch.zeros(()) for name in self._dropped}
        for first in range(0, len(contexts), _BATCH):
            state = self._read(contexts[first : first + _BATCH])
            rows = [state[name].reshape(len(state[name]), -1) for name in self._kept]
            kept.append(torch.cat(rows, dim=1))
            sums = {name: total + state[name].sum(0) for name, total in sums.items()}
        code = StateCode.fit(torch.cat(kept), self._num_bits)
        return code, {name: total / len(contexts) for name, total in sums.items()}

    def _read(self, contexts: Sequence[Sequence[int]]) -> State:
        """The states after these."""
        state, slots_B = self._model.init_state(len(contexts)), torch.arange(len(contexts))
        length = max(map(len, contexts))
        tokens_BL = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in contexts])
        self._model.prefill(tokens_BL, torch.tensor([*map(len, contexts)]), state, slots_B)
        return state


def _names(model: SequenceModel) -> tuple[list[str], list[str]]:
    """The tensors of a state that are coded, and those that are not kept."""
    names = list(model.init_state(1))
    dropped = [name for name in names if name.startswith(_SHORT_TERM)]
    return [name for name in names if name not in dropped], dropped
