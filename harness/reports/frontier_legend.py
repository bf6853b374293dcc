"""What stands below the frontier: what its marks and lines mean, and which models are not on it."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from harness.reports.frontier import Panel
from harness.reports.marks import FAMILY_NAMES, family_mark, marker
from harness.reports.svg import join, tag
from harness.reports.text_size import folded, text_width
from harness.reports.units import bytes_text

_SIZE: Final = 12.0
_LINE: Final = 21.0
_SWATCH: Final = 26.0
_GAP: Final = 16.0

# A drawing of 20 units around its middle at the origin, and what it means.
Entry = tuple[Markup, str]


def legend_lines(
    panel: Panel, unnamed: Sequence[str], left: float, top: float, right: float
) -> tuple[Markup, float]:
    """From `top` on down, and how high it is; `unnamed`: models whose names found no room."""
    entries = [*_families(panel), *_marks(panel), *_lines(panel)]
    drawn, x, y = [], left, top + _LINE / 2
    for swatch, text in entries:
        width = _SWATCH + text_width(text, _SIZE)
        if x + width > right and x > left:
            x, y = left, y + _LINE
        drawn.append(_entry(swatch, text, x, y))
        x += width + _GAP
    for note in _notes(panel, unnamed):
        for line in folded(note, right - left, _SIZE):
            y += _LINE
            drawn.append(tag("text", line, x=left, y=y + 4, class_="label soft"))
    return join(drawn), y + _LINE - top


def _entry(swatch: Markup, text: str, x: float, y: float) -> Markup:
    shape = tag("g", swatch, transform=f"translate({x + 10:.1f} {y:.1f})")
    return join(shape, tag("text", text, x=x + _SWATCH, y=y + 4, class_="label"))


def _families(panel: Panel) -> list[Entry]:
    families = dict.fromkeys(one.model.description.family for one in panel.standings)
    return [
        (_point(family), FAMILY_NAMES.get(family, "family not told"))
        for family in [*FAMILY_NAMES, *(f for f in families if f not in FAMILY_NAMES)]
        if family in families
    ]


def _marks(panel: Panel) -> list[Entry]:
    entries = []
    if any(one.closed for one in panel.standings):
        entries.append((_point(""), f"filled: {panel.closed}"))
    if any(one.opened for one in panel.standings):
        entries.append((_point("", kind=" hollow"), f"hollow: same weights, {panel.opened}"))
    spots = [spot for one in panel.standings for spot in one.spots]
    if any(spot.accuracy.num_trainings > 1 for spot in spots):
        bar = tag("path", d="M0 -8 V8 M-3 -8 h6 M-3 8 h6", class_="bar")
        entries.append((tag("g", bar, class_="series other shade-0"), _trainings(panel)))
    return entries


def _trainings(panel: Panel) -> str:
    numbers = {s.accuracy.num_trainings for one in panel.standings for s in one.spots}
    most = max(numbers)
    return f"mean and range of {'up to ' if len(numbers) > 1 else ''}{most} training seeds"


def _lines(panel: Panel) -> list[Entry]:
    entries = []
    if panel.bound is not None:
        line = tag("path", d="M-10 0 H10", class_="curve bound")
        said = f"information bound: 1 from {bytes_text(math.ceil(panel.enough or 0))} on"
        entries.append((line, said))
    if panel.chance is not None:
        entries.append((tag("path", d="M-10 0 H10", class_="curve chance"), "chance"))
    return entries


def _notes(panel: Panel, unnamed: Sequence[str]) -> list[str]:
    notes = []
    if panel.num_samples is not None:
        notes.append(f"Each mark: {panel.num_samples} samples a training.")
    if grown := [one.model.name for one in panel.standings if one.model.grows]:
        notes.append(f"State grows with the context, here as it was at its end: {_listed(grown)}.")
    if panel.unknown:
        notes.append(f"Not drawn, for their state is not known: {_listed(panel.unknown)}.")
    if panel.otherwise:
        notes.append(f"Not drawn, for they were asked in other ways: {_listed(panel.otherwise)}.")
    if unnamed:
        notes.append(f"Drawn, but without room for a name: {_listed(unnamed)}.")
    return notes


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _point(family: str, kind: str = "") -> Markup:
    mark = family_mark(family)
    shape = "circle" if not family else mark.shape
    point = tag("g", marker(shape, 0.0, 0.0, size=5.0), class_=f"point{kind}")
    return tag("g", point, class_=f"series {mark.classes}")
