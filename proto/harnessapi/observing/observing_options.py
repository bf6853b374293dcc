"""The options of every server of ours about who looks at it: probes, Prometheus, logs."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Final

import click

from harnessapi.observing.logs import LogFormat, set_up_logging
from harnessapi.observing.observed import Observing
from harnessapi.observing.tallies import Metrics
from harnessapi.programs import require_extra
from harnessapi.rpc.targets import Target, parse_target

_PORT: Final = click.IntRange(1, 65535)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservingChoice:
    """What a command line says of it; the names are the options'."""

    health_port: int | None
    metrics_port: int | None
    ops_host: str
    log_format: str

    @contextmanager
    def observing(self) -> Iterator[Observing]:
        """For as long as the block metrics are shown. Raises MissingExtraError, TargetError."""
        log_format = LogFormat(self.log_format)
        set_up_logging(log_format)
        health = self._target(self.health_port)
        target = self._target(self.metrics_port)
        if target is None:
            yield Observing(health=health, log_format=log_format)
            return
        require_extra("metrics", "--metrics-port")
        # The extra has what it needs.
        from harnessapi.observing.exposition import exposed  # noqa: PLC0415

        metrics = Metrics()
        with exposed(metrics, target):
            yield Observing(health=health, metrics=metrics, log_format=log_format)

    def _target(self, port: int | None) -> Target | None:
        return None if port is None else parse_target(f"{self.ops_host}:{port}")


def observing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of ObservingChoice; the command gets one as `observing`."""

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> Any:
        own = {one.name: values.pop(one.name) for one in fields(ObservingChoice)}
        return command(*arguments, observing=ObservingChoice(**own), **values)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


_OPTIONS: Final[list[Callable[[Any], Any]]] = [
    click.option(
        "--health-port",
        type=_PORT,
        help="Where health alone is told, in the clear and without a token: for probes.",
    ),
    click.option(
        "--metrics-port",
        type=_PORT,
        help="Where Prometheus reads, by HTTP: numbers alone, no text of anybody's.",
    ),
    click.option(
        "--ops-host",
        default="127.0.0.1",
        show_default=True,
        metavar="HOST",
        help="Where these two ports listen.",
    ),
    click.option(
        "--log-format",
        type=click.Choice([one.value for one in LogFormat]),
        default=LogFormat.TEXT.value,
        show_default=True,
        help="json: an object a line on standard error, one for every call too.",
    ),
]
