"""Traces and metrics that nobody asked for: nothing is imported, sent or said."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from harnessapi.observing import traces
from harnessapi.observing.logs import JsonFormatter, log_calls, log_fields

WATCHED = "{'opentelemetry', 'opentelemetry.sdk', 'prometheus_client'}"
CALL = """
from harnessapi.observing.traces import answering, calling, is_tracing, start_tracing, took
import harness.clients.grpc_client, harnessapi.rpc.server
with calling("harness", "attempt", {}) as carried, answering("s", "n", {}, {}):
    took("s", "search", 5, "", {})
print(carried, is_tracing(), start_tracing("s"))
"""


def run(program: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    path = ":".join(part for part in sys.path if part)
    return subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )


def test_without_a_variable_nothing_of_it_is_imported() -> None:
    done = run(f"{CALL}import sys\nprint({WATCHED} & set(sys.modules))")
    assert (done.stdout, done.stderr) == ("() False False\nset()\n", "")


def test_without_the_sdk_a_variable_changes_nothing() -> None:
    absent = "import sys\nsys.modules.update({'opentelemetry': None, 'opentelemetry.sdk': None})"
    done = run(f"{absent}\n{CALL}", OTEL_TRACES_EXPORTER="console")
    assert (done.stdout, done.stderr) == ("() False False\n", "")


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "none"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, "none"),
    ],
)
def test_the_variables_are_opentelemetrys_own(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str
) -> None:
    for variable in (
        *("OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    ):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert traces.is_tracing() == (name != "none")


def test_a_line_of_the_log_is_one_object_whatever_is_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="harness.calls"):
        log_fields("completion", request_id="abc", reason='"\n\u2028', ms=1.5)
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("harness.calls").exception("it failed")
    first, second = (JsonFormatter().format(record) for record in caplog.records)
    assert "\n" not in first + second
    told: dict[str, Any] = json.loads(first)
    assert (told["message"], told["request_id"], told["reason"]) == (
        "completion",
        "abc",
        '"\n\u2028',
    )
    assert told["time"].endswith("+00:00")
    assert "two\nlines" in json.loads(second)["error"]
    assert callable(log_calls())
