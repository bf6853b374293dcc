"""A whole HTML page that loads nothing and runs nothing."""

from importlib import resources
from typing import Final

from harness.reports.html import Child, Markup, join, tag

# Should escaping ever fail, a browser still fetches and runs nothing.
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
# What every page ends with.
END: Final = "</main></body></html>\n"


def document(title: str, *body: Child) -> str:
    """The page as text, to be written as UTF-8."""
    style = resources.files("harness.reports").joinpath("page.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        # Our own file, as it stands: escaping would break its selectors.
        tag("style", Markup(style)),
    )
    page = tag("html", head, tag("body", tag("main", tag("h1", title), join(*body))), lang="en")
    return f"<!doctype html>\n{page}\n"
