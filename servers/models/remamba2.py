"""ReMamba over Mamba2: a prompt is read twice, the second time with a stretch of it condensed.

First as any Mamba2 reads it. Where it ends, the hidden states of a stretch are held against the
last one, and it is read again from an empty state: the best of the stretch, each through a learned
value projection, stand where the whole stretch stood. All that follows goes on from that state.
Source: Yuan et al., "ReMamba", arXiv 2408.15496, section 3. The weights of the Mamba2 part are
named as in mamba2.py; those beside them, and the keys of the config, are the project's own. Left
open there, and chosen here: the hidden states are those after the last norm; query, keys and values
are linear, the first two of a rank of their own; time steps change before their softplus, as the
authors' own code for Mamba2 has it; the stretch never holds the last token; every prompt is read
twice, also one of a single token, of which nothing is condensed. Text that is inserted after a
prompt is read once.
What the tokens of a prompt left is kept until it has ended, and no longer.
Shapes: B sequences, L tokens, P of prompts, T tokens of all rows, M that are read again, D width,
V vocabulary, S slots.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.rnn import pad_sequence

from harness_servers.models.caches import (
    FIRST_CAPACITY,
    NUM_READ,
    is_cache,
    lasting_bytes,
    reserve_for,
    row_bytes,
)
from harness_servers.models.config_values import flag
from harness_servers.models.mamba2 import MAX_LAYERS, Mamba2Model, mixer_shape
from harness_servers.models.packed_rows import Rows
from harness_servers.models.protocol import State, positive_int
from harness_servers.models.remamba2_selection import Compressed, Selection, SelectionShape

_HIDDEN: Final = "cache.hidden"
_TOKENS: Final = "cache.token"
# Whether a slot's prompt has ended. Until then "num_read" counts its tokens; afterwards it is 0.
_IS_OVER: Final = "is_over"


class ReMamba2Model(Mamba2Model):
    """A Mamba2 that is told where a prompt ends; see PromptModel.

    Its family is that of the models whose memory does as its own while they read a prompt: a part
    of it grows. Where that has ended, it is a Mamba2's.
    """

    family: ClassVar[str] = "HYBRID"

    def __init__(self, config: Mapping[str, Any]) -> None:
        shape = mixer_shape(config)
        num_layers = positive_int(config, "num_hidden_layers", at_most=MAX_LAYERS)
        super().__init__(
            shape,
            num_layers,
            positive_int(config, "vocab_size"),
            tied=flag(config, "tie_word_embeddings", False),
        )
        selection_shape = SelectionShape.from_config(config, shape.hidden_size)
        self.selection = Selection(selection_shape, shape, num_layers)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of this shape. Raises ConfigError."""
        return cls(config)

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) at the T wanted positions, row by row, from an empty state: training.

        The first wanted position of a row is the last token of its prompt.
        """
        embedded_BLD = self.backbone.embeddings(tokens_BL)
        ends_B = is_wanted_BL.int().argmax(1) + 1
        lengths = (ends_B * is_wanted_BL.any(1)).tolist()
        hidden_BPD = self.train_layers(embedded_BLD[:, : max(1, *lengths)])
        hidden_BPD = self.backbone.norm_f(hidden_BPD)
        rows = [
            self.selection.compress(embedded_LD, hidden_PD[:length])
            for embedded_LD, hidden_PD, length in zip(
                embedded_BLD, hidden_BPD, lengths, strict=True
            )
        ]
        adaptations = self.selection.adaptations(
            pad_sequence([row.scale_M1 for row in rows], batch_first=True),
            pad_sequence([row.is_kept_M1 for row in rows], batch_first=True),
        )
        inputs_BMD = pad_sequence([row.inputs_MD for row in rows], batch_first=True)
        hidden_BMD = self.train_layers(inputs_BMD, adaptations)
        # Nothing is wanted of a prompt but what follows its last token, which moves to the front.
        num_dropped = [tokens_BL.shape[1] - len(row.inputs_MD) for row in rows]
        is_wanted_BM = pad_sequence(
            [is_wanted_L[num:] for is_wanted_L, num in zip(is_wanted_BL, num_dropped, strict=True)],
            batch_first=True,
        )
        return F.linear(self.backbone.norm_f(hidden_BMD[is_wanted_BM]), self.head_weight)

    def init_state(self, num_slots: int) -> State:
        """A Mamba2's, and of a prompt's tokens the ids (S, T) and hidden states (S, T, D)."""
        device = self.backbone.embeddings.weight.device
        room = (num_slots, FIRST_CAPACITY)
        return {
            **super().init_state(num_slots),
            NUM_READ: torch.zeros(num_slots, dtype=torch.long, device=device),
            _IS_OVER: torch.zeros(num_slots, dtype=torch.bool, device=device),
            _TOKENS: torch.zeros(room, dtype=torch.long, device=device),
            _HIDDEN: torch.zeros(*room, self.shape.hidden_size, device=device),
        }

    def _read(self, tokens_BL: Tensor, state: State, rows: Rows, *, to_last: bool) -> Tensor:
        is_open_B = ~state[_IS_OVER][rows.slots_B]
        if not is_open_B.any():
            return super()._read(tokens_BL, state, rows, to_last=to_last)
        reserve_for(state, rows.lengths_B, rows.slots_B)
        tokens_T = rows.pack(tokens_BL)
        embedded_TD = self.backbone.embeddings(tokens_T)
        hidden_TD = self.read_layers(embedded_TD, state, rows, to_last=False)
        self._keep(tokens_T, self.backbone.norm_f(hidden_TD), state, rows, is_open_B)
        return self.say(rows.last(hidden_TD) if to_last else hidden_TD)

    def _keep(
        self, tokens_T: Tensor, normed_TD: Tensor, state: State, rows: Rows, is_open_B: Tensor
    ) -> None:
        """Of the tokens of prompts, behind those that are there."""
        row_T = torch.arange(len(rows.lengths_B)).repeat_interleave(rows.lengths_B)
        first_B = rows.lengths_B.cumsum(0) - rows.lengths_B
        place_T = torch.arange(len(tokens_T)) + (state[NUM_READ][rows.slots_B] - first_B)[row_T]
        is_open_T = is_open_B[row_T]
        where = rows.slots_B[row_T][is_open_T], place_T[is_open_T]
        state[_TOKENS][where] = tokens_T[is_open_T]
        state[_HIDDEN][where] = normed_TD[is_open_T]
        state[NUM_READ][rows.slots_B] += rows.lengths_B * is_open_B

    @torch.inference_mode()
    def end_prompts(self, state: State, slots_B: Tensor) -> Tensor:
        """See PromptModel.end_prompts. Each is condensed by itself, so none depends on others."""
        prompts = [self._take_prompt(state, slot) for slot in slots_B.tolist()]
        lengths_B = torch.tensor([len(prompt.inputs_MD) for prompt in prompts])
        adaptations = self.selection.adaptations(
            torch.cat([prompt.scale_M1 for prompt in prompts]),
            torch.cat([prompt.is_kept_M1 for prompt in prompts]),
        )
        hidden_BD = self.read_layers(
            torch.cat([prompt.inputs_MD for prompt in prompts]),
            state,
            Rows(slots_B=slots_B, lengths_B=lengths_B),
            to_last=True,
            adaptations=adaptations,
        )
        return self.say(hidden_BD)

    def _take_prompt(self, state: State, slot: int) -> Compressed:
        """What is to be read again of a slot's prompt; leaves an empty state that is over."""
        length = int(state[NUM_READ][slot])
        embedded_LD = self.backbone.embeddings(state[_TOKENS][slot, :length])
        compressed = self.selection.compress(embedded_LD, state[_HIDDEN][slot, :length])
        for name, tensor in state.items():
            if is_cache(name):
                tensor[slot, :length] = 0
            else:
                tensor[slot] = 0
        state[_IS_OVER][slot] = True
        return compressed

    def state_bytes(self) -> int:
        """Bytes of one sequence's state without what is kept of its prompt's tokens."""
        return lasting_bytes(self.init_state(1))

    def state_bytes_per_token(self) -> int:
        """Bytes of what is kept of each token of a prompt until it ends."""
        return row_bytes(self.init_state(1))
