"""A line chart as inline SVG: accuracy from 0 to 1 upwards, a quantity on a logarithmic axis."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from harness.reports.frame import ChartFrame
from harness.reports.marks import Mark, marker, point_class, swatch
from harness.reports.svg import path_of, tag

# User units; a panel is about as wide on the screen, so letters keep their size.
WIDTH: Final = 360.0
HEIGHT: Final = 250.0
_FRAME: Final = ChartFrame(width=WIDTH, height=HEIGHT, left=52.0, right=8.0, top=10.0, bottom=40.0)
# Between an edge and the first mark: room for marks that are moved aside, and for half a tick.
_INSET: Final = 32.0
# Marks nearer than this would cover each other; they are moved so far apart.
_MARK_WIDTH: Final = 8.0
# Bands of more series than these would cover each other: the whiskers have to do.
_MAX_BANDS: Final = 8
# Of the way to the next mark: no further aside.
_MAX_ASIDE: Final = 0.8

# A place on the drawing.
Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A measured accuracy with its interval; `title` is the tooltip."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of one endpoint asked in one way; with a line and a band where they are one curve."""

    label: str
    mark: Mark
    points: tuple[Point, ...]
    has_line: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Something to compare with: chance, the bound, the paper. `kind` is its class in page.css."""

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]
    mark: Mark | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """`ticks`: what the horizontal axis names, smallest first."""

    title: str
    x_label: str
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Series, ...]
    curves: tuple[Curve, ...] = ()


def draw(chart: Chart, **attributes: float) -> Markup:
    """The chart without its legend. Every horizontal value has to be above 0."""
    across = _scale(chart)
    drawn = list(zip(chart.series, _places(chart, across), strict=True))
    return tag(
        "svg",
        tag("title", chart.title),
        _FRAME.grid(),
        _FRAME.x_axis(chart.ticks, across, chart.x_label),
        [_curve(curve, across) for curve in chart.curves],
        [_band(*one) for one in drawn if one[0].has_line and len(drawn) <= _MAX_BANDS],
        [_series(*one) for one in drawn],
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        class_="chart",
        **attributes,
    )


def legend(chart: Chart) -> list[tuple[Markup, str]]:
    """(swatch, name) of all that is drawn."""
    series = ((swatch(one.mark, has_line=one.has_line), one.label) for one in chart.series)
    curves = ((swatch(one.mark, f"curve {one.kind}"), one.label) for one in chart.curves)
    return [*series, *curves]


def _scale(chart: Chart) -> Callable[[float], float]:
    values = [p.x for s in chart.series for p in s.points] + [x for x, _ in chart.ticks]
    values += [x for curve in chart.curves for x, _ in curve.points]
    low, high = math.log2(min(values)), math.log2(max(values))
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    left, right = _FRAME.left + _INSET, _FRAME.end - _INSET
    return lambda x: left + (math.log2(x) - low) / (high - low) * (right - left)


def _places(chart: Chart, across: Callable[[float], float]) -> list[list[Place]]:
    """Where the marks of each series stand: side by side where they would cover each other."""
    places = [[(across(p.x), _FRAME.down(p.y)) for p in series.points] for series in chart.series]
    clusters: list[list[tuple[int, int]]] = []
    for number, series in enumerate(places):
        for index, place in enumerate(series):
            near = (c for c in clusters if any(_is_near(place, places[s][i]) for s, i in c))
            cluster: list[tuple[int, int]] | None = next(near, None)
            if cluster is None:
                clusters.append(cluster := [])
            cluster.append((number, index))
    moved = [list(series) for series in places]
    for cluster in clusters:
        middle = sum(places[s][i][0] for s, i in cluster) / len(cluster)
        # None over the edge.
        room = min(2 * _INSET, _MAX_ASIDE * _room(places, middle))
        step = min(_MARK_WIDTH, room / len(cluster))
        for order, (s, i) in enumerate(cluster if len(cluster) > 1 else []):
            x = middle + (order - (len(cluster) - 1) / 2) * step
            moved[s][i] = (x, places[s][i][1])
    return moved


def _is_near(one: Place, other: Place) -> bool:
    return all(abs(a - b) < _MARK_WIDTH for a, b in zip(one, other, strict=True))


def _room(places: list[list[Place]], x: float) -> float:
    """The distance to the next marks that do not stand here."""
    distances = (abs(other - x) for series in places for other, _ in series)
    return min((d for d in distances if d >= _MARK_WIDTH), default=2 * _INSET)


def _curve(curve: Curve, across: Callable[[float], float]) -> Markup:
    """The line, under a tooltip that says what it is."""
    drawn = [(across(x), _FRAME.down(y)) for x, y in curve.points]
    mark, shapes = curve.mark, []
    if len(drawn) > 1:
        dash = mark.dash if mark else None
        shapes.append(tag("path", d=path_of(drawn), stroke_dasharray=dash))
    if mark or len(drawn) == 1:
        shape = mark.shape if mark else "dash"
        points = [marker(shape, x, y, size=3.0) for x, y in drawn]
        shapes.append(tag("g", points, class_=point_class(mark)))
    kind = f"curve {curve.kind} {mark.classes if mark else ''}"
    return tag("g", tag("title", curve.label), shapes, class_=kind)


def _band(series: Series, places: Sequence[Place]) -> Markup:
    if len(places) < 2:
        return Markup()
    moved = list(zip(series.points, places, strict=True))
    upper = [(x, _FRAME.down(p.high)) for p, (x, _) in moved]
    lower = [(x, _FRAME.down(p.low)) for p, (x, _) in reversed(moved)]
    return tag("path", d=path_of([*upper, *lower]) + " Z", class_=f"band {series.mark.classes}")


def _series(series: Series, places: Sequence[Place]) -> Markup:
    mark = series.mark
    shapes = []
    if series.has_line and len(places) > 1:
        line = path_of(places)
        shapes.append(tag("path", d=line, class_="line", stroke_dasharray=mark.dash))
    for point, (x, y) in zip(series.points, places, strict=True):
        shapes.append(
            tag(
                "g",
                tag("title", point.title),
                tag("line", x1=x, x2=x, y1=_FRAME.down(point.low), y2=_FRAME.down(point.high)),
                marker(mark.shape, x, y, size=4.5),
                class_=point_class(mark),
            )
        )
    return tag("g", shapes, class_=f"series {mark.classes}")
