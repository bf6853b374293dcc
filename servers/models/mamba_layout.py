"""The names of Hugging Face's `mamba` around any layers; `samba` has them too.

Shapes: D width, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from torch import Tensor, nn

from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, TokenMixer


class MambaBackbone(nn.Module):
    """Embedding, layers and the last norm. The layers are made after the embedding is drawn."""

    def __init__(
        self,
        layers: Iterable[ResidualLayer],
        *,
        vocabulary_size: int,
        hidden_size: int,
        epsilon: float,
    ) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary_size, hidden_size)
        nn.init.normal_(self.embeddings.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(layers)
        self.norm_f = RmsNorm(hidden_size, eps=epsilon)


class MambaLayoutModel(StackedModel):
    """A backbone with a head, which may be its embedding."""

    def __init__(self, backbone: MambaBackbone, *, tied: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.vocabulary_size, width = backbone.embeddings.weight.shape
        self.lm_head = None if tied else nn.Linear(width, self.vocabulary_size, bias=False)

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.backbone.embeddings

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.backbone.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.backbone.norm_f

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.backbone.embeddings if self.lm_head is None else self.lm_head).weight
