"""The frame of a chart: accuracy from 0 to 1 upwards, named places along the horizontal axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from harness.reports.svg import join, tag

_MIN_TICK_DISTANCE: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChartFrame:
    """User units: the size of the drawing, and the margins around what is drawn."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def end(self) -> float:
        """The right edge."""
        return self.width - self.right

    @property
    def base(self) -> float:
        """The lower edge, where accuracy is 0."""
        return self.height - self.bottom

    def down(self, y: float) -> float:
        """Where an accuracy is."""
        return self.top + (1 - y) * (self.base - self.top)

    def grid(self) -> Markup:
        """Lines and names of five accuracies."""
        lines = [
            join(
                tag("line", x1=self.left, x2=self.end, y1=y, y2=y, class_="grid"),
                tag("text", f"{value:.2f}", x=self.left - 6, y=y + 4, class_="tick", **_END),
            )
            for value in (0.0, 0.25, 0.5, 0.75, 1.0)
            for y in [self.down(value)]
        ]
        middle = (self.top + self.base) / 2
        name = tag(
            "text",
            "accuracy",
            class_="axis",
            text_anchor="middle",
            transform=f"translate(14 {middle:g}) rotate(-90)",
        )
        return join(lines, name)

    def x_axis(
        self, ticks: Sequence[tuple[float, str]], across: Callable[[float], float], label: str
    ) -> Markup:
        """A tick for each value; names that would meet the one before are left out."""
        shown: list[Markup] = []
        free_from = 0.0
        for value, text in ticks:
            x, base = across(value), self.base
            shown.append(tag("line", x1=x, x2=x, y1=base, y2=base + 4, class_="axis-line"))
            if x >= free_from:
                shown.append(tag("text", text, x=x, y=base + 16, class_="tick", **_MIDDLE))
                free_from = x + max(_MIN_TICK_DISTANCE, 7.0 * len(text))
        middle = (self.left + self.end) / 2
        name = tag("text", label, x=middle, y=self.base + 34, class_="axis", text_anchor="middle")
        return join(shown, name)


_END: Final = {"text_anchor": "end"}
_MIDDLE: Final = {"text_anchor": "middle"}
