"""Other programs' layouts, told by the names that they give to weights."""

import re
from collections.abc import Iterable
from typing import Final

# A name that only this program gives, whose it is, and what to do.
_LAYOUTS: Final = (
    (
        r"blocks\.\d+\.(att|ffn)\.",
        "those of RWKV-LM: flash-linear-attention's utils/convert_from_rwkv7.py writes what is "
        "served here",
    ),
    (
        r"model\.layers\.\d+\.attn\.x_x$",
        "those of an older flash-linear-attention, or of a fork: load it there in a version that "
        "reads it, and save it with a newer one",
    ),
    (
        r"layers\.\d+\.attention\.w[qkvo]\.weight",
        "those of Meta's own code: transformers' convert_llama_weights_to_hf.py writes what is "
        "served here",
    ),
    (
        r"backbone\.embedding\.weight",
        "those of mamba_ssm: beside its own config.json, without a model_type, they are taken",
    ),
)


def whose_names(names: Iterable[str]) -> str | None:
    """Whose layout names like these are of, and what to do with it; None where that is unknown."""
    names = [*names]
    for pattern, whose in _LAYOUTS:
        if any(re.match(pattern, name) for name in names):
            return whose
    return None
