"""The frontier as SVG: a mark a model without a search, a hollow one with, and their names."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from harness.reports.frame import ChartFrame
from harness.reports.frontier import Panel, Spot, Standing
from harness.reports.frontier_legend import legend_lines
from harness.reports.frontier_scale import StateScale, side_by_side, state_scale
from harness.reports.label_places import Box, Label, Place, Room, place_labels
from harness.reports.marks import family_mark, marker
from harness.reports.svg import path_of, tag
from harness.reports.units import bytes_text

# User units, which are pixels at the width that it is meant to be seen in.
WIDTH: Final = 800.0
# Above accuracy 1 there is room for the names of those that reach it.
FRAME: Final = ChartFrame(width=WIDTH, height=470.0, left=56.0, right=18.0, top=62.0, bottom=46.0)
_LABEL_SIZE: Final = 12.0
# A hollow mark is a ring around the filled one of the same place.
_MARK_SIZE: Final = 4.6
_RING_SIZE: Final = 6.2
# Half of what a mark takes, and of what a bar or a line does.
_MARK_ROOM: Final = 7.5
_LINE_ROOM: Final = 2.5

# From a model's name to the address of what is said of it; None: there is none.
Link = Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """A model's marks, the lower ends of its stem first: (spot, place) of those that there are."""

    standing: Standing
    closed: tuple[Spot, Place] | None
    opened: tuple[Spot, Place] | None

    @property
    def drawn(self) -> list[tuple[Spot, Place]]:
        return [one for one in (self.closed, self.opened) if one is not None]


def frontier_svg(panel: Panel, link: Link) -> Markup:
    """The frontier within a page, whose style it has."""
    drawn, height = draw_frontier(panel, link)
    title = tag("title", f"{panel.title}: recall against bytes of state")
    return tag(
        "svg", title, drawn, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", class_="frontier"
    )


def draw_frontier(panel: Panel, link: Link = lambda _name: None) -> tuple[Markup, float]:
    """What belongs into an SVG of WIDTH user units, and its height; the legend is in it."""
    states = [spot.state_bytes for one in panel.standings for spot in one.spots]
    across = state_scale(states, panel.enough, FRAME.left + 6, FRAME.end - 6)
    columns = _columns(panel, across)
    bound = _bound(panel, across)
    labels = _labels(columns, bound)
    unnamed = [one.model.name for one in panel.standings if one.model.name not in labels]
    legend, legend_height = legend_lines(panel, unnamed, FRAME.left, FRAME.height, FRAME.end)
    drawn = tag(
        "g",
        FRAME.grid(),
        FRAME.x_axis(across.ticks, across, "bytes of state that a sequence holds (log scale)"),
        _break(across),
        _chance(panel),
        _bound_curve(panel, bound),
        [_stem(column) for column in columns],
        [_leader(column, labels) for column in columns],
        [_marks(panel, column) for column in columns],
        [_label(label, link) for label in labels.values()],
        legend,
    )
    return drawn, FRAME.height + legend_height


def _columns(panel: Panel, across: StateScale) -> list[_Column]:
    """Models of nearly the same state stand side by side, each with its own two marks."""
    standings = sorted(panel.standings, key=lambda one: (one.spots[0].state_bytes, one.model.name))
    plain = [across(one.spots[0].state_bytes) for one in standings]

    def place(spot: Spot | None, aside: float) -> tuple[Spot, Place] | None:
        if spot is None:
            return None
        return spot, (across(spot.state_bytes) + aside, FRAME.down(spot.accuracy.mean))

    return [
        _Column(standing=one, closed=place(one.closed, x - own), opened=place(one.opened, x - own))
        for one, x, own in zip(standings, side_by_side(plain), plain, strict=True)
    ]


def _bound(panel: Panel, across: StateScale) -> list[Place]:
    if panel.bound is None:
        return []
    shown = [(x, y) for x, y in panel.bound.points if across.holds(x)]
    # To the right edge it goes on as it is.
    ends = [(across.ends[1], y) for _, y in shown[-1:]]
    return [(across(x), FRAME.down(y)) for x, y in [*shown, *ends]]


def _bound_curve(panel: Panel, places: list[Place]) -> Markup:
    if panel.bound is None or not places:
        return Markup()
    return tag(
        "g",
        tag(
            "title", f"{panel.bound.label}; all from {bytes_text(math.ceil(panel.enough or 0))} on"
        ),
        tag("path", d=path_of(places)),
        class_="curve bound",
    )


def _chance(panel: Panel) -> Markup:
    if panel.chance is None:
        return Markup()
    y = FRAME.down(panel.chance)
    return tag(
        "g",
        tag("title", f"chance: {panel.chance:.3f}, the best simple guess, which finds nothing"),
        tag("line", x1=FRAME.left, x2=FRAME.end, y1=y, y2=y),
        class_="curve chance",
    )


def _break(across: StateScale) -> Markup:
    """Two strokes through the axis where states are left out."""
    if (middle := across.break_at) is None:
        return Markup()
    base = FRAME.base
    strokes = [
        tag("path", d=path_of([(middle + x - 3, base + 6), (middle + x + 3, base - 6)]))
        for x in (-3.0, 3.0)
    ]
    return tag("g", tag("title", "states are left out here"), strokes, class_="axis-line")


def _stem(column: _Column) -> Markup:
    """From a model's mark without a search to the one with."""
    if column.closed is None or column.opened is None:
        return Markup()
    ends = [column.closed[1], column.opened[1]]
    return tag("path", d=path_of(ends), class_=f"stem {_classes(column)}")


def _marks(panel: Panel, column: _Column) -> Markup:
    shapes = [
        *(_mark(column, panel.opened, *one, is_ring=True) for one in [column.opened] if one),
        *(_mark(column, panel.closed, *one, is_ring=False) for one in [column.closed] if one),
    ]
    return tag("g", shapes, class_=f"series {_classes(column)}")


def _mark(column: _Column, way: str, spot: Spot, place: Place, *, is_ring: bool) -> Markup:
    """With a bar from the worst training to the best where there are several."""
    (x, y), accuracy = place, spot.accuracy
    bar = Markup()
    told = f"{column.standing.model.name}, {way}: {accuracy.mean:.3f}"
    if accuracy.num_trainings > 1:
        low, high = FRAME.down(accuracy.low), FRAME.down(accuracy.high)
        ends = f"M{x - 3:.1f} {low:.1f} h6 M{x - 3:.1f} {high:.1f} h6"
        bar = tag("path", d=f"M{x:.1f} {low:.1f} V{high:.1f} {ends}", class_="bar")
        told += f", mean of {accuracy.num_trainings} trainings"
        told += f" ({accuracy.low:.3f}-{accuracy.high:.3f})"
    shape = family_mark(column.standing.model.description.family).shape
    return tag(
        "g",
        tag("title", f"{told}; state {bytes_text(round(spot.state_bytes))}"),
        bar,
        marker(shape, x, y, size=_RING_SIZE if is_ring else _MARK_SIZE),
        class_="point hollow" if is_ring else "point",
    )


def _classes(column: _Column) -> str:
    return family_mark(column.standing.model.description.family).classes


def _labels(columns: Iterable[_Column], bound: list[Place]) -> dict[str, Label]:
    """Each beside the mark without a search, or beside the only one."""
    columns = list(columns)
    marks = {one.standing.model.name: one.drawn[0][1] for one in columns}
    hard = [_around([place], _MARK_ROOM) for one in columns for _, place in one.drawn]
    soft = [_around(ends, _LINE_ROOM) for ends in pairwise(bound)]
    for one in columns:
        soft.append(_around([place for _, place in one.drawn], _LINE_ROOM))
        for spot, (x, _) in one.drawn:
            ends = [(x, FRAME.down(y)) for y in (spot.accuracy.low, spot.accuracy.high)]
            hard.append(_around(ends, _LINE_ROOM + 1))
    within = Box(FRAME.left + 2, 4, FRAME.end, FRAME.base - 2)
    room = Room(within=within, hard=hard, soft=soft)
    return place_labels(marks, room, _LABEL_SIZE)


def _around(places: Iterable[Place], room: float) -> Box:
    xs, ys = zip(*places, strict=True)
    return Box(min(xs) - room, min(ys) - room, max(xs) + room, max(ys) + room)


def _leader(column: _Column, labels: Mapping[str, Label]) -> Markup:
    label = labels.get(column.standing.model.name)
    if label is None or not label.has_leader:
        return Markup()
    ends = [column.drawn[0][1], label.anchor]
    return tag("path", d=path_of(ends), class_="leader")


def _label(label: Label, link: Link) -> Markup:
    box = label.box
    text = tag(
        "text",
        label.text,
        x=(box.left + box.right) / 2,
        y=box.bottom - 0.27 * _LABEL_SIZE,
        text_anchor="middle",
        class_="label",
    )
    address = link(label.text)
    return text if address is None else tag("a", text, href=address)
