"""Whole HTML pages from templates: each is one file that loads nothing."""

from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import cannot_write
from harness.reports.svg import visible

_PACKAGE: Final = "harness.reports"
_FOLDER: Final = "templates"


def document(template: str, **values: Any) -> str:
    """The page as text, to be written as UTF-8; whatever is not `Markup` is escaped."""
    return "".join(_pieces(template, values))


def write_document(path: Path, template: str, **values: Any) -> None:
    """The page as a file. Raises InputError, or NoRoomError, where it cannot be written."""
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(_pieces(template, values))
    except OSError as error:
        raise cannot_write(path, error) from None


def resource(name: str) -> Markup:
    """A file of ours beside the templates, such as page.css, as it stands: never escaped."""
    text = resources.files(_PACKAGE).joinpath(_FOLDER, name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704


def _pieces(template: str, values: dict[str, Any]) -> Iterator[str]:
    return _environment().get_template(template).generate(values)


@cache
def _environment() -> Environment:
    # Whatever a template shows passes `finalize`, then is escaped, unless it is markup already.
    environment = Environment(
        loader=PackageLoader(_PACKAGE, _FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    style, script = resource("page.css"), resource("sort.js")
    environment.globals.update(style=style, script=script, policy=_policy(style, script))
    return environment


def _policy(style: str, script: str) -> str:
    """Should escaping ever fail, a browser still fetches nothing and runs our own script alone."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
