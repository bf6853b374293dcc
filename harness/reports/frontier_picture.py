"""The frontier as a file of its own: with its background, light or dark as the reader likes."""

from typing import Final

from harness.reports.document import resource
from harness.reports.frontier import Panel
from harness.reports.frontier_chart import WIDTH, draw_frontier
from harness.reports.svg import tag
from harness.reports.text_size import folded

_MARGIN: Final = 16.0
_HEADING_SIZE: Final = 15.0
_LINE: Final = 20.0


def frontier_picture(panel: Panel) -> str:
    """SVG as text, to be written as UTF-8; it loads nothing and runs nothing."""
    title = f"{panel.title}: recall for bytes of state"
    lines = folded(title, WIDTH - 2 * _MARGIN, _HEADING_SIZE)
    top = 14 + _LINE * len(lines)
    drawn, inner = draw_frontier(panel)
    height = top + inner + 4
    svg = tag(
        "svg",
        tag("title", title),
        tag("style", resource("page.css")),
        tag("rect", x=0.5, y=0.5, width=WIDTH - 1, height=height - 1, rx=6, class_="background"),
        [
            tag("text", line, x=_MARGIN, y=5 + _LINE * number, class_="heading")
            for number, line in enumerate(lines, start=1)
        ],
        tag("g", drawn, transform=f"translate(0 {top:g})"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        height=height,
        role="img",
    )
    return f"{svg}\n"
