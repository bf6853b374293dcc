"""How series look in every chart: colour and marker tell the family, line and filling the way.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart, made a
little darker or lighter for the two themes in page.css.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from harnessapi.values import Mode
from markupsafe import Markup

from harness.reports.svg import tag
from harness.runs.results import CellResult
from harness.way import Prompting, Way

# Family, as GetModel has it, to colour (a class in page.css) and marker.
_FAMILIES: Final = {
    "RNN": ("rnn", "circle"),
    "SSM": ("ssm", "square"),
    "HYBRID": ("hybrid", "diamond"),
    "TRANSFORMER": ("transformer", "triangle"),
}
# For people, in the order of a legend.
FAMILY_NAMES: Final = {
    "RNN": "RNN",
    "SSM": "state space",
    "HYBRID": "hybrid",
    "TRANSFORMER": "Transformer",
}
_OTHER: Final = ("other", "cross")
_DASHES: Final = {Prompting.DIRECT: "2 3", Prompting.COT: None, Prompting.SEARCH: "9 4"}
_REGEX_DASH: Final = "9 3 2 3"
# Further series of one family and way have another shade (page.css).
_NUM_SHADES: Final = 3
_CORNERS: Final = {"square": (4, 45.0), "diamond": (4, 0.0), "triangle": (3, -90.0)}

# The label of an endpoint, and the name of a way.
SeriesKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """`dash` as SVG has it, None is a whole line; hollow means one thing: with a search."""

    colour: str
    shape: str
    dash: str | None = None
    is_hollow: bool = False
    shade: int = 0

    @property
    def classes(self) -> str:
        """Those of page.css."""
        return f"{self.colour} shade-{self.shade}"


def series_key(cell: CellResult) -> SeriesKey:
    """What tells the series of a chart apart."""
    return cell.label, cell.way


def mark_of(family: str, way: Way, shade: int = 0) -> Mark:
    """The mark of a family asked so."""
    colour, shape = _FAMILIES.get(family, _OTHER)
    return Mark(
        colour=colour,
        shape=shape,
        dash=_REGEX_DASH if way.retrieval is Mode.REGEX else _DASHES[way.prompting],
        is_hollow=way.retrieval is not None,
        shade=shade % _NUM_SHADES,
    )


def family_mark(family: str) -> Mark:
    """Of a family alone, however it is asked."""
    colour, shape = _FAMILIES.get(family, _OTHER)
    return Mark(colour=colour, shape=shape)


def marks_of(cells: Iterable[CellResult]) -> dict[SeriesKey, Mark]:
    """The marks of all series; no two are the same until the shades are used up."""
    marks: dict[SeriesKey, Mark] = {}
    counts: dict[Mark, int] = {}
    for cell in cells:
        if series_key(cell) not in marks:
            family, way = cell.model.family, cell.asked.way
            first = mark_of(family, way)
            number = counts.get(first, 0)
            marks[series_key(cell)] = mark_of(family, way, shade=number)
            counts[first] = number + 1
    return marks


def marker(shape: str, x: float, y: float, *, size: float) -> Markup:
    """The shape around (x, y)."""
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=size)
    if shape in _CORNERS:
        num_corners, turn = _CORNERS[shape]
        # As much area as the circle has, or nearly.
        return _polygon(x, y, size * 1.3, num_corners, turn)
    if shape == "dash":
        return tag("path", d=f"M{x - 6:.1f} {y:.1f} h12")
    low, high = -size, size
    strokes = f"M{x + low:.1f} {y + low:.1f} L{x + high:.1f} {y + high:.1f}"
    return tag("path", d=f"{strokes} M{x + low:.1f} {y + high:.1f} L{x + high:.1f} {y + low:.1f}")


def swatch(mark: Mark | None, kind: str = "series", *, has_line: bool = True) -> Markup:
    """What stands before a name in a legend."""
    shapes = []
    if has_line:
        dash = mark.dash if mark else None
        shapes.append(tag("path", d="M1 7 H35", class_="line", stroke_dasharray=dash))
    if mark:
        shapes.append(tag("g", marker(mark.shape, 18, 7, size=4.0), class_=point_class(mark)))
    return tag(
        "svg",
        tag("g", shapes, class_=f"{kind} {mark.classes if mark else ''}"),
        viewBox="0 0 36 14",
        width="36",
        height="14",
        class_="swatch",
        aria_hidden="true",
    )


def point_class(mark: Mark | None) -> str:
    """Those of page.css for a mark on its line."""
    return "point hollow" if mark and mark.is_hollow else "point"


def _polygon(x: float, y: float, radius: float, num_corners: int, turn: float) -> Markup:
    corners = []
    for number in range(num_corners):
        angle = math.radians(turn + 360 * number / num_corners)
        corners.append(f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}")
    return tag("path", d=f"M{' L'.join(corners)} Z")
