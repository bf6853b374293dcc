"""Spans of OpenTelemetry: where its SDK is installed and its variables name an exporter, else none.

The variables are OpenTelemetry's own: OTEL_TRACES_EXPORTER (otlp, console, none), or an
OTEL_EXPORTER_OTLP_ENDPOINT. What models read and write is in no span.
"""

import functools
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any, Final

_log = logging.getLogger(__name__)
_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PARENT: Final = "traceparent"
Attributes = Mapping[str, str | int | float]
Metadata = tuple[tuple[str, str], ...]


def is_tracing() -> bool:
    """Whether spans go anywhere."""
    return _exporter_name() != "none" and _is_installed()


def start_tracing(service: str) -> bool:
    """The same, with everything loaded for it that the first span would wait for."""
    return _tracer(service) is not None


@contextmanager
def calling(service: str, name: str, attributes: Attributes) -> Iterator[Metadata]:
    """A span of a client's call; what goes with the call as its metadata. Without traces: nothing.

    `service`: what this program is called, unless OTEL_SERVICE_NAME says otherwise.
    """
    tracer = _tracer(service)
    if tracer is None:
        yield ()
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _span(tracer, name, kind=SpanKind.CLIENT, attributes=dict(attributes)):
        yield ((_PARENT, current_parent()),)


@contextmanager
def answering(
    service: str, name: str, call_metadata: Mapping[str, Any], attributes: Attributes
) -> Iterator[None]:
    """A span of a server's call, below that of its client."""
    tracer = _tracer(service)
    if tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    above = _above(str(call_metadata.get(_PARENT, "")))
    with _span(tracer, name, context=above, kind=SpanKind.SERVER, attributes=dict(attributes)):
        yield


def took(service: str, name: str, elapsed_ns: int, parent: str, attributes: Attributes) -> None:
    """A span that has just ended, below that of a `current_parent`."""
    tracer = _tracer(service)
    if tracer is None:
        return
    now_ns = time.time_ns()
    span = tracer.start_span(
        name,
        context=_above(parent),
        start_time=now_ns - elapsed_ns,
        attributes=dict(attributes),
    )
    span.end(now_ns)


def current_parent() -> str:
    """The span that is under way, as W3C's traceparent; empty without one."""
    if "opentelemetry.trace" not in sys.modules:
        return ""
    from opentelemetry.propagate import inject  # noqa: PLC0415

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(_PARENT, "")


@contextmanager
def _span(tracer: Any, name: str, **options: Any) -> Iterator[None]:
    """The current one of the block. An error is told by its kind: its text may quote a prompt."""
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    quiet = {"record_exception": False, "set_status_on_exception": False}
    with tracer.start_as_current_span(name, **quiet, **options) as span:
        try:
            yield
        except BaseException as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def _above(parent: str) -> Any:
    from opentelemetry.propagate import extract  # noqa: PLC0415

    return extract({_PARENT: parent}) if parent else None


def _exporter_name() -> str:
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return "none"
    name = os.environ.get(_EXPORTER, "").strip()
    return name or ("otlp" if any(os.environ.get(one) for one in _ENDPOINTS) else "none")


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk.trace") is not None
    except ModuleNotFoundError:
        return False


@functools.cache
def _tracer(service: str) -> Any:
    """None: there are no traces. One of a process: the exporter has a thread of its own."""
    if not is_tracing():
        return None
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    exporter = _exporter(_exporter_name())
    if exporter is None:
        return None
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider.get_tracer("recall-harness")


def _exporter(name: str) -> Any:
    found = metadata.entry_points(group="opentelemetry_traces_exporter", name=name)
    if not found:
        _log.warning(
            "%s=%s: no such exporter is installed; pip install 'recall-harness[opentelemetry]' "
            "brings otlp",
            _EXPORTER,
            name,
        )
        return None
    made = next(iter(found)).load()
    # Standard output is for results.
    return made(out=sys.stderr) if name == "console" else made()
