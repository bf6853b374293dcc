"""Options, and types of options, that several commands share."""

from pathlib import Path
from typing import Any

import click

ENDPOINTS_FILE = click.option(
    "--endpoints",
    "endpoints_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Endpoints to use in place of ./endpoints.toml or the packaged ones.",
)

RUNS_FOLDER = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are stored.",
)


QUIET = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Say nothing of phases and progress; warnings, refusals and errors stay.",
)


class CommaList(click.ParamType):  # type: ignore[type-arg]  # generic in newer Click only
    """Values separated by commas, each of the given type; repeated ones count once."""

    def __init__(self, item: Any, metavar: str) -> None:
        self.item = item
        self.name = metavar

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Fails naming the value that is wrong."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            self.fail(f"'{value}' has an empty part", param, ctx)
        return tuple(dict.fromkeys(self.item.convert(part, param, ctx) for part in parts))
