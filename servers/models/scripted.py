"""A fake that ships: a model that writes the script of the last trigger token it read.

Shapes: B sequences, L tokens, N scripts, K script length, V vocabulary, S slots.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from harness_servers.models.protocol import State, positive_int

_EMPTY = -1


class ScriptedModel(nn.Module):
    """Follows scripts instead of weights, so that an engine can be tested to the letter.

    After a trigger the script's tokens are the likeliest, one after the other; tokens that are read
    and are not the expected one (what a search inserted) change nothing. A script that is done
    expects its last token for ever.
    """

    family: ClassVar[str] = "RNN"
    context_limit: int | None = None
    triggers_N: Tensor
    scripts_NK: Tensor

    def __init__(self, *, vocabulary_size: int, num_scripts: int, script_length: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.register_buffer("triggers_N", torch.full((num_scripts,), _EMPTY))
        self.register_buffer("scripts_NK", torch.full((num_scripts, script_length), _EMPTY))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See CheckpointModel.from_config."""
        return cls(
            vocabulary_size=positive_int(config, "vocab_size"),
            num_scripts=positive_int(config, "num_scripts"),
            script_length=positive_int(config, "script_length"),
        )

    @classmethod
    def from_scripts(cls, scripts: Mapping[int, Sequence[int]], vocabulary_size: int) -> Self:
        """A model that writes `scripts[token]` after it has read `token`."""
        length = max(len(script) for script in scripts.values())
        model = cls(vocabulary_size=vocabulary_size, num_scripts=len(scripts), script_length=length)
        for row, (trigger, script) in enumerate(scripts.items()):
            model.triggers_N[row] = trigger
            padded = [*script, *[script[-1]] * (length - len(script))]
            model.scripts_NK[row] = torch.tensor(padded)
        return model

    def init_state(self, num_slots: int) -> State:
        """The script that is followed (0: none yet) and the place in it, (S,) each."""
        return {name: torch.zeros(num_slots, dtype=torch.long) for name in ("script", "place")}

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads token by token; see SequenceModel.prefill."""
        logits_TV = self.read_all(tokens_BL, lengths_B, state, slots_B)
        return logits_TV[lengths_B.cumsum(0) - 1]

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        logits_BLV = torch.zeros(*tokens_BL.shape, self.vocabulary_size)
        for position in range(int(lengths_B.max())):
            rows_R = (lengths_B > position).nonzero()[:, 0]
            tokens_R = tokens_BL[rows_R, position]
            logits_BLV[rows_R, position] = self.decode(tokens_R, state, slots_B[rows_R])
        return logits_BLV[torch.arange(tokens_BL.shape[1]) < lengths_B[:, None]]

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token a row."""
        script_B, place_B = state["script"][slots_B], state["place"][slots_B]
        expected_B = self.scripts_NK[(script_B - 1).clamp(min=0), place_B]
        last = self.scripts_NK.shape[1] - 1
        is_next_B = (script_B > 0) & (tokens_B == expected_B)
        place_B = torch.where(is_next_B, (place_B + 1).clamp(max=last), place_B)
        is_trigger_BN = tokens_B[:, None] == self.triggers_N[None, :]
        is_trigger_B = is_trigger_BN.any(dim=1) & ~is_next_B
        script_B = torch.where(is_trigger_B, is_trigger_BN.long().argmax(dim=1) + 1, script_B)
        place_B = torch.where(is_trigger_B, 0, place_B)
        state["script"][slots_B], state["place"][slots_B] = script_B, place_B
        logits_BV = torch.zeros(len(tokens_B), self.vocabulary_size)
        following_B = self.scripts_NK[(script_B - 1).clamp(min=0), place_B]
        rows_R = (script_B > 0).nonzero()[:, 0]
        logits_BV[rows_R, following_B[rows_R]] = 1.0
        return logits_BV

    def state_bytes(self) -> int:
        """Two whole numbers of 8 bytes."""
        return 16

    def state_bytes_per_token(self) -> int:
        """Nothing grows."""
        return 0
