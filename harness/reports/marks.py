"""How the families look in every chart: a colour and a marker each, so neither alone has to tell.

The colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart, made a
little darker or lighter for the two themes in page.css.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.reports.html import Markup, tag

# Family, as GetModel has it, to colour (a class in page.css) and marker.
_FAMILIES: Final = {
    "RNN": ("rnn", "circle"),
    "SSM": ("ssm", "square"),
    "HYBRID": ("hybrid", "diamond"),
    "TRANSFORMER": ("transformer", "triangle"),
}
_OTHER: Final = ("other", "cross")
# Endpoints of one family: the first has a whole line.
_DASHES: Final = (None, "7 3", "2 3", "9 3 2 3", "4 2 1 2 1 2")
_CORNERS: Final = {"square": (4, 45.0), "diamond": (4, 0.0), "triangle": (3, -90.0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """`dash` as SVG has it; None is a whole line."""

    colour: str
    shape: str
    dash: str | None = None


def mark_of(family: str, number: int = 0) -> Mark:
    """The mark of the n-th endpoint of a family, counted from 0."""
    colour, shape = _FAMILIES.get(family, _OTHER)
    return Mark(colour=colour, shape=shape, dash=_DASHES[number % len(_DASHES)])


def marks_of(families: Sequence[tuple[str, str]]) -> dict[str, Mark]:
    """Marks of (label, family) pairs by label: endpoints of one family differ in their dashes."""
    marks: dict[str, Mark] = {}
    counts: dict[str, int] = {}
    for label, family in families:
        if label not in marks:
            colour = mark_of(family).colour
            number = counts.get(colour, 0)
            marks[label] = mark_of(family, number)
            counts[colour] = number + 1
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


def swatch(
    mark: Mark | None, kind: str = "series", *, has_line: bool = True, is_hollow: bool = False
) -> Markup:
    """What stands before a name in a legend."""
    colour = f" {mark.colour}" if mark else ""
    shapes = []
    if has_line:
        dash = mark.dash if mark else None
        shapes.append(tag("path", d="M1 7 H31", class_="line", stroke_dasharray=dash))
    if mark:
        kind_of_point = "point hollow" if is_hollow else "point"
        shapes.append(tag("g", marker(mark.shape, 16, 7, size=4.0), class_=kind_of_point))
    return tag(
        "svg",
        tag("g", shapes, class_=f"{kind}{colour}"),
        viewBox="0 0 32 14",
        class_="swatch",
        aria_hidden="true",
    )


def _polygon(x: float, y: float, radius: float, num_corners: int, turn: float) -> Markup:
    corners = []
    for number in range(num_corners):
        angle = math.radians(turn + 360 * number / num_corners)
        corners.append(f"{x + radius * math.cos(angle):.1f} {y + radius * math.sin(angle):.1f}")
    return tag("path", d=f"M{' L'.join(corners)} Z")
