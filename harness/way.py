"""A way of asking a sample: the prompting, the kind of search where there is one, the style."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harnessapi.values import Mode

from harness.errors import InputError, unknown_name


class Prompting(StrEnum):
    """How the answer is asked for: at once, after a chain of thought, or with searches."""

    DIRECT = "direct"
    COT = "cot"
    SEARCH = "search"


class Style(StrEnum):
    """The alphabet of a prompt: the short one of our checkpoints, or natural language."""

    SYMBOLIC = "symbolic"
    NATURAL = "natural"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Prompting, kind of search and style: the same in options, cells, recipes and reports."""

    prompting: Prompting = Prompting.DIRECT
    # None: the search channel is closed.
    retrieval: Mode | None = None
    style: Style = Style.SYMBOLIC

    def __post_init__(self) -> None:
        """Raises InputError for prompting search without a kind of search."""
        if self.prompting is Prompting.SEARCH and self.retrieval is None:
            kinds = " or ".join(Mode)
            raise InputError(f"prompting search needs a kind of search: {kinds}")

    @property
    def name(self) -> str:
        """`direct`, `search dense`, `cot natural`: the usual style goes without saying."""
        parts = [self.prompting.value]
        if self.retrieval is not None:
            parts.append(self.retrieval.value)
        if self.style is not Style.SYMBOLIC:
            parts.append(self.style.value)
        return " ".join(parts)

    @property
    def key(self) -> str:
        """As part of a cell's key: `search/dense/symbolic`, `direct/none/natural`."""
        return f"{self.prompting}/{self.retrieval or 'none'}/{self.style}"

    @classmethod
    def parse(cls, name: str) -> "Way":
        """The inverse of `name`. Raises InputError listing them all for any other text."""
        if name not in _BY_NAME:
            raise unknown_name("way", name, _BY_NAME)
        return _BY_NAME[name]


_BY_NAME: Final = {
    way.name: way
    for style in Style
    for way in (
        Way(prompting=Prompting.DIRECT, style=style),
        Way(prompting=Prompting.COT, style=style),
        *(Way(prompting=Prompting.SEARCH, retrieval=mode, style=style) for mode in Mode),
    )
}
