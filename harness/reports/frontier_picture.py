"""The frontier as a file of its own: with its background, light or dark as the reader likes."""

from harness.reports.document import resource
from harness.reports.frontier import Panel
from harness.reports.frontier_chart import WIDTH, draw_frontier
from harness.reports.svg import tag

_HEADING: float = 34.0


def frontier_picture(panel: Panel) -> str:
    """SVG as text, to be written as UTF-8; it loads nothing and runs nothing."""
    drawn, inner = draw_frontier(panel)
    height = inner + _HEADING + 4
    samples = f", {panel.num_samples} samples a training" if panel.num_samples else ""
    title = f"Recall for bytes of state: {panel.title}{samples}"
    svg = tag(
        "svg",
        tag("title", title),
        tag("style", resource("page.css")),
        tag("rect", x=0.5, y=0.5, width=WIDTH - 1, height=height - 1, rx=6, class_="background"),
        tag("text", title, x=16, y=25, class_="heading"),
        tag("g", drawn, transform=f"translate(0 {_HEADING:g})"),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        width=WIDTH,
        height=height,
        role="img",
    )
    return f"{svg}\n"
