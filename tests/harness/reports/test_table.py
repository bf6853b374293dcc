from dataclasses import replace
from typing import Any

import pytest
from harnessapi.values import Mode, ModelDescription

from harness.reports import table
from harness.reports.units import bytes_text, count_text, state_text
from harness.runs.cell import Cell
from harness.runs.metrics import Metrics
from harness.runs.results import CellResult
from harness.way import Prompting, Style

# Of the widest kind: names, state and interval have all their letters.
NAMES = ("hybrid", "hybrid-rag", "transformer", "transformer-rag")


def result(endpoint: str, size: int = 8, no_answer: int = 0, grows: int = 0) -> CellResult:
    mode = Mode.DENSE if endpoint.endswith("-rag") else None
    return CellResult(
        run="run",
        model=ModelDescription(
            name="transformer",
            family="TRANSFORMER",
            num_parameters=724_000,
            state_bytes=397_312,
            state_bytes_per_token=grows,
        ),
        asked=Cell(
            endpoint=endpoint,
            task="assoc_recall",
            size=size,
            prompting=Prompting.SEARCH if mode else Prompting.DIRECT,
            retrieval=mode,
            style=Style.SYMBOLIC,
            max_new_tokens=40,
        ),
        metrics=Metrics(
            n=200,
            correct=199,
            accuracy=0.995,
            ci95=(0.972, 0.999),
            no_answer=no_answer,
            truncated=0,
            errored=0,
            tokens_per_s=10_968.4,
            ttft_ms_p50=1_204.5,
            searches_per_sample=1.0 if mode else 0.0,
        ),
    )


@pytest.fixture
def printed(capsys: Any) -> Any:
    def run(*results: CellResult) -> list[str]:
        table.print_results(results)
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return run


def test_a_scoreboard_of_all_endpoints_fits_100_columns(printed: Any) -> None:
    results = [result(name, size, grows=2048) for name in NAMES for size in (8, 16, 32, 64)]
    lines = printed(*results)
    assert max(map(len, lines)) <= 105
    columns = table._columns(results, table._common(results, table._ALL))
    assert table._table(results, columns).fits(100)
    assert "…" not in "\n".join(lines)


def test_what_all_rows_share_is_said_once_above(printed: Any) -> None:
    first, *rest = printed(result("rnn", 8), result("rnn", 16))
    assert first == (
        "task assoc_recall, prompting direct, n 200, no answer 0, truncated 0, errored 0, "
        "searches 0.00"
    )
    assert "assoc_recall" not in "".join(rest)


def test_what_holds_for_an_endpoint_stands_beside_its_name_alone(printed: Any) -> None:
    lines = printed(
        *(result(name, size, grows=2048) for name in ("rnn", "rnn-rag") for size in (8, 16, 32))
    )
    rows = [line.split() for line in lines[4:]]
    figures = ["0.995", "0.972-0.999", "10,968", "1,204"]
    assert rows[0] == ["rnn", "TRANSFORMER", "0.7M", "388.0", "KiB", "8", *figures, "0.00"]
    assert rows[1] == ["direct", "+2.0", "KiB/token", "16", *figures, "0.00"]
    assert rows[2] == ["32", *figures, "0.00"]
    assert rows[5][:2] == ["search", "dense"]


def test_a_single_row_keeps_all_that_is_said_of_its_endpoint(printed: Any) -> None:
    lines = printed(result("rnn", grows=2048), result("rnn-rag"))
    assert [line.split() for line in lines[5:6]] == [["direct", "+2.0", "KiB/token"]]


def test_counts_that_differ_get_a_column(printed: Any) -> None:
    lines = printed(result("rnn", 8), result("rnn", 16, no_answer=3))
    assert "no answer" not in lines[0]
    assert "answer" in lines[2]
    assert lines[5].endswith("  3")


def test_what_a_model_was_not_trained_on_is_marked(printed: Any) -> None:
    told = replace(result("rnn"), label="rnn")
    lines = printed(replace(told, model=replace(told.model, trained_tasks=("index",))))
    assert "0.995†" in lines[4]
    assert lines[-1] == "† not trained on it (rnn: assoc_recall)"
    assert "†" not in "".join(printed(told))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (43_700, "43.7k"),
        (100_000, "0.1M"),
        (724_000, "0.7M"),
        (7_240_000_000, "7.2B"),
    ],
)
def test_a_count_is_short(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(512, "512 B"), (2048, "2.0 KiB"), (2**21, "2.0 MiB"), (2**31, "2.0 GiB")],
)
def test_bytes_are_counted_in_powers_of_1024(num_bytes: int, text: str) -> None:
    assert bytes_text(num_bytes) == text


def test_a_state_that_grows_says_by_how_much(printed: Any) -> None:
    assert state_text(2048, 0) == "2.0 KiB"
    assert state_text(2048, 512) == "2.0 KiB\n+512 B/token"
    assert state_text(0, 512) == "512 B/token"
