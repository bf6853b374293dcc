"""Which tokens attention layers keep, in the words of an option: `tova=64`, `window=64,full=1+3`.

Light: client and servers read it.
"""

import re
from dataclasses import dataclass
from typing import Final

FULL: Final = "full"
# Of the newest token's attention, the least is dropped (Oren et al., arXiv 2401.06104).
TOVA: Final = "tova"
# The oldest is dropped.
WINDOW: Final = "window"

_MAX_TOKENS: Final = 2**20
_FORM: Final = re.compile(r"(tova|window)=([0-9]{1,9})(?:,full=([0-9]{1,4}(?:\+[0-9]{1,4})*))?")
_FORMS: Final = (
    f"{FULL}, {TOVA}=TOKENS or {WINDOW}=TOKENS, these two also with the layers that keep all, "
    f"counted from 0: {WINDOW}=64,full=1+3"
)


class CachePolicyError(ValueError):
    """A text that is no policy; says what was expected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CachePolicy:
    """`num_tokens` are kept, by all layers but `full_layers`; those of FULL keep all of them."""

    kind: str = FULL
    num_tokens: int = 0
    full_layers: frozenset[int] = frozenset()

    def is_full(self, layer: int) -> bool:
        """Whether this layer keeps every token."""
        return self.kind == FULL or layer in self.full_layers


def parse_cache_policy(text: str) -> CachePolicy:
    """Raises CachePolicyError."""
    if text == FULL:
        return CachePolicy()
    found = _FORM.fullmatch(text)
    if found is None or not 1 <= int(found[2]) <= _MAX_TOKENS:
        raise CachePolicyError(f"{text!r} is no cache policy: {_FORMS} were expected")
    layers = found[3].split("+") if found[3] else []
    return CachePolicy(
        kind=found[1],
        num_tokens=int(found[2]),
        full_layers=frozenset(map(int, layers)),
    )
