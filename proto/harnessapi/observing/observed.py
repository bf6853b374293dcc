"""Who looks at a server: its probes, Prometheus, the readers of its log."""

from dataclasses import dataclass
from typing import Final

from harnessapi.observing.logs import LogFormat
from harnessapi.observing.tallies import Metrics
from harnessapi.rpc.targets import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Observing:
    """What a server is looked at with; by default with nothing, which costs nothing."""

    # Where health alone is told, in the clear and to everybody: for probes that know no token.
    health: Target | None = None
    metrics: Metrics | None = None
    # In JSON every call is a line too.
    log_format: LogFormat = LogFormat.TEXT


UNOBSERVED: Final = Observing()
