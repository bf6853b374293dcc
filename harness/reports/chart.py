"""A line chart as inline SVG: accuracy from 0 to 1 upwards, a quantity on a logarithmic axis."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.reports.html import Markup, join, tag
from harness.reports.marks import Mark, marker

# User units; a panel is about as wide on the screen, so letters keep their size.
_WIDTH: Final = 360.0
_HEIGHT: Final = 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 40.0
_MIN_TICK_DISTANCE: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A measured accuracy with its interval; `title` is the tooltip. Hollow: with search."""

    x: float
    y: float
    low: float
    high: float
    title: str
    is_hollow: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Points of one endpoint; joined by a line with a band where the points are one curve."""

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


def draw(chart: Chart) -> Markup:
    """The chart without its legend. Every horizontal value has to be above 0."""
    across = _scale(_extent(chart))
    return tag(
        "svg",
        tag("title", chart.title),
        _grid(),
        _x_axis(chart, across),
        [_curve(curve, across) for curve in chart.curves],
        [_band(series, across) for series in chart.series if series.has_line],
        [_series(series, across) for series in chart.series],
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}",
        role="img",
        class_="chart",
    )


def _extent(chart: Chart) -> tuple[float, float]:
    values = [p.x for s in chart.series for p in s.points]
    values += [x for curve in chart.curves for x, _ in curve.points]
    return min(values), max(values)


def _scale(extent: tuple[float, float]) -> Callable[[float], float]:
    low, high = (math.log2(value) for value in extent)
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    margin = 0.04 * (high - low)
    low, high = low - margin, high + margin
    return lambda x: _LEFT + (math.log2(x) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _down(y: float) -> float:
    return _TOP + (1 - y) * (_HEIGHT - _TOP - _BOTTOM)


def _grid() -> Markup:
    right = _WIDTH - _RIGHT
    lines = [
        join(
            tag("line", x1=_LEFT, x2=right, y1=_down(y), y2=_down(y), class_="grid"),
            tag("text", f"{y:.2f}", x=_LEFT - 6, y=_down(y) + 4, class_="tick", text_anchor="end"),
        )
        for y in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    name = tag(
        "text",
        "accuracy",
        class_="axis",
        text_anchor="middle",
        transform=f"translate(14 {middle:g}) rotate(-90)",
    )
    return join(lines, name)


def _x_axis(chart: Chart, across: Callable[[float], float]) -> Markup:
    shown: list[Markup] = []
    free_from = 0.0
    base = _HEIGHT - _BOTTOM
    for value, text in chart.ticks:
        x = across(value)
        shown.append(tag("line", x1=x, x2=x, y1=base, y2=base + 4, class_="axis-line"))
        if x >= free_from:
            shown.append(tag("text", text, x=x, y=base + 16, class_="tick", text_anchor="middle"))
            free_from = x + max(_MIN_TICK_DISTANCE, 7.0 * len(text))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    name = tag("text", chart.x_label, x=middle, y=_HEIGHT - 6, class_="axis", text_anchor="middle")
    return join(shown, name)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _curve(curve: Curve, across: Callable[[float], float]) -> Markup:
    """The line, under a tooltip that says what it is."""
    drawn = [(across(x), _down(y)) for x, y in curve.points]
    colour = f" {curve.mark.colour}" if curve.mark else ""
    shapes = [tag("path", d=_path(drawn))] if len(drawn) > 1 else []
    if curve.mark or len(drawn) == 1:
        shape = curve.mark.shape if curve.mark else "dash"
        shapes.append(tag("g", [marker(shape, x, y, size=3.0) for x, y in drawn], class_="point"))
    return tag("g", tag("title", curve.label), shapes, class_=f"curve {curve.kind}{colour}")


def _band(series: Series, across: Callable[[float], float]) -> Markup:
    if len(series.points) < 2:
        return Markup()
    upper = [(across(p.x), _down(p.high)) for p in series.points]
    lower = [(across(p.x), _down(p.low)) for p in reversed(series.points)]
    return tag("path", d=_path([*upper, *lower]) + " Z", class_=f"band {series.mark.colour}")


def _series(series: Series, across: Callable[[float], float]) -> Markup:
    shapes = []
    if series.has_line and len(series.points) > 1:
        line = _path([(across(p.x), _down(p.y)) for p in series.points])
        shapes.append(tag("path", d=line, class_="line", stroke_dasharray=series.mark.dash))
    for point in series.points:
        x = across(point.x)
        whisker = tag("line", x1=x, x2=x, y1=_down(point.low), y2=_down(point.high))
        shapes.append(
            tag(
                "g",
                tag("title", point.title),
                whisker,
                marker(series.mark.shape, x, _down(point.y), size=4.5),
                class_="point hollow" if point.is_hollow else "point",
            )
        )
    return tag("g", shapes, class_=f"series {series.mark.colour}")
