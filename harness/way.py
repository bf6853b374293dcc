"""A way of asking a sample: prompting, kind of search, style, and the arm of an experiment."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from harnessapi.values import Mode

from harness.errors import InputError, unknown_name

# Words of filler that a command may ask for.
MAX_FILLER: Final = 65_536


class Prompting(StrEnum):
    """How the answer is asked for: at once, after a chain of thought, or with searches."""

    DIRECT = "direct"
    COT = "cot"
    SEARCH = "search"


class Style(StrEnum):
    """The alphabet of a prompt: the short one of our checkpoints, or natural language."""

    SYMBOLIC = "symbolic"
    NATURAL = "natural"


class Reading(StrEnum):
    """What stands before the question: the context, it twice, or the question and the context."""

    ONCE = "once"
    TWICE = "twice"
    QUESTION_FIRST = "question-first"


class SearchArm(StrEnum):
    """What searches look through: the context, nothing, or a false copy of it."""

    HONEST = "honest"
    EMPTY = "empty"
    LYING = "lying"


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """The same in options, cells, recipes and reports."""

    prompting: Prompting = Prompting.DIRECT
    # None: the search channel is closed.
    retrieval: Mode | None = None
    style: Style = Style.SYMBOLIC
    reading: Reading = Reading.ONCE
    # Neutral words between the question and what the model writes.
    filler: int = 0
    search: SearchArm = SearchArm.HONEST

    def __post_init__(self) -> None:
        """Raises InputError for parts that do not go together."""
        if self.prompting is Prompting.SEARCH and self.retrieval is None:
            kinds = " or ".join(Mode)
            raise InputError(f"prompting search needs a kind of search: {kinds}")
        if self.search is not SearchArm.HONEST and self.retrieval is None:
            raise InputError(f"search {self.search}: prompting {self.prompting} makes no search")
        if self.filler < 0:
            raise InputError(f"filler {self.filler}: it has to be a number of words, at least 0")

    @property
    def arms(self) -> tuple[str, ...]:
        """What of reading, filler and search is unlike the usual: `twice`, `filler=32`, `lying`."""
        return (
            *([self.reading.value] if self.reading is not Reading.ONCE else []),
            *([f"{_FILLER}{self.filler}"] if self.filler else []),
            *([self.search.value] if self.search is not SearchArm.HONEST else []),
        )

    @property
    def words(self) -> frozenset[str]:
        """All that can be said of it, the usual too: `search`, `dense`, `symbolic`, `honest`."""
        arm = (self.reading.value, f"{_FILLER}{self.filler}")
        parts = (self.prompting.value, self.style.value, *arm)
        if self.retrieval is None:
            return frozenset(parts)
        return frozenset({*parts, self.retrieval.value, self.search.value})

    @property
    def name(self) -> str:
        """`direct`, `search dense`, `cot natural twice`: the usual goes without saying."""
        parts = [self.prompting.value]
        if self.retrieval is not None:
            parts.append(self.retrieval.value)
        if self.style is not Style.SYMBOLIC:
            parts.append(self.style.value)
        return " ".join([*parts, *self.arms])

    @property
    def key(self) -> str:
        """As part of a cell's key: `search/dense/symbolic`, `direct/none/natural/twice`."""
        parts = (self.prompting, self.retrieval or "none", self.style, *self.arms)
        return "/".join(parts)

    @classmethod
    def parse(cls, name: str) -> "Way":
        """The inverse of `name`. Raises InputError listing them all for any other text."""
        words = name.split(" ")
        base = _BY_NAME.get(" ".join(word for word in words if not _arm(word)))
        if base is not None:
            arm = {part: value for word in words for part, value in _arm(word).items()}
            # Parts that do not go together are no way either.
            with suppress(InputError):
                way = replace(base, **arm)
                if way.name == name:
                    return way
        raise unknown_name("way", name, _BY_NAME)


_FILLER: Final = "filler="
_ARMS: Final[Mapping[str, dict[str, Any]]] = {
    **{one.value: {"reading": one} for one in Reading if one is not Reading.ONCE},
    **{one.value: {"search": one} for one in SearchArm if one is not SearchArm.HONEST},
}


def _arm(word: str) -> dict[str, Any]:
    """The part of a way that a word of its name sets; empty where it is no arm's."""
    number = word.removeprefix(_FILLER)
    if word != number and number.isascii() and number.isdigit():
        return {"filler": int(number[:9])}
    return _ARMS.get(word, {})


_BY_NAME: Final = {
    way.name: way
    for style in Style
    for way in (
        Way(prompting=Prompting.DIRECT, style=style),
        Way(prompting=Prompting.COT, style=style),
        *(Way(prompting=Prompting.SEARCH, retrieval=mode, style=style) for mode in Mode),
    )
}
