"""`harness report --by position`: accuracy by the fifth of its context in which an answer stood."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.sample import Address
from harness.tasks import TASKS, build_task


def place_of(address: str) -> int:
    one = Address.from_key(address)
    task = build_task(TASKS[one.task], **dict(one.parameters))
    return int(task.sample(one.split, one.seed, one.index).metadata["position"])


@pytest.fixture
def run(stored: Any, tmp_path: Path) -> Path:
    """Ten pairs, 40 samples, wrong where the first pair is asked; and a graph."""
    cell = stored.cell("rnn", size=10)
    samples = [stored.sample(cell, index, is_right=True) for index in range(40)]
    samples = [
        stored.sample(cell, index, is_right=place_of(one["address"]) > 0)
        for index, one in enumerate(samples)
    ]
    graph = stored.cell("rnn", task="is_tree", size=8)
    drawn = [stored.sample(graph, index, is_right=True) for index in range(2)]
    return stored.run(tmp_path / "runs" / "one", {cell: samples, graph: drawn})


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_each_fifth_counts_the_samples_whose_answer_stood_there(workplace: Any, run: Path) -> None:
    plain = rows(workplace.run("report", str(run), "--json"))
    pairs, graph = rows(workplace.run("report", str(run), "--by", "position", "--json"))
    lines = (run / "samples.jsonl").read_text().splitlines()
    places = Counter(
        place_of(line["address"]) for line in map(json.loads, lines) if "assoc" in line["cell"]
    )
    found = pairs.pop("by_position")
    assert [part["n"] for part in found] == [places[2 * n] + places[2 * n + 1] for n in range(5)]
    assert [part["correct"] for part in found] == [places[1], *(one["n"] for one in found[1:])]
    assert found[0]["accuracy"] == places[1] / (places[0] + places[1])
    assert [(part["start"], part["end"]) for part in found][::4] == [(0.0, 0.2), (0.8, 1.0)]
    assert (graph.pop("by_position"), [pairs, graph]) == (None, plain)


def test_terminal_and_page_show_it_where_it_is_asked_for_alone(workplace: Any, run: Path) -> None:
    told = "ccuracy by where the answer stood"
    shown = workplace.run("report", str(run), "--by", "position", "--html", "r.html").stdout
    part = shown[shown.index(told) :]
    assert "last fifth" in part
    assert "is_tree" not in part[: part.index("chance of")]
    page = Path("r.html").read_text()
    assert told in page
    assert page.count("last fifth") == 1
    assert told not in workplace.run("report", str(run), "--html", "r.html").stdout
    assert told not in Path("r.html").read_text()


def test_where_no_answer_stands_at_one_place_that_is_said(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn", task="parity", size=8)
    run = stored.run(Path("runs/two"), {cell: [stored.sample(cell, 0, is_right=True)]})
    shown = workplace.run("report", str(run), "--by", "position").stdout
    assert "No task of these runs has an answer that stands at one place" in shown


def test_an_unknown_kind_and_one_sample_are_refused(workplace: Any, run: Path) -> None:
    result = workplace.run("report", str(run), "--by", "moon")
    assert (result.exit_code, "'moon'" in result.stderr) == (2, True)
    sample = ("--sample", "x", "--html", "r.html")
    result = workplace.run("report", str(run), "--by", "position", *sample)
    assert (result.exit_code, "--by is of many samples" in result.stderr) == (2, True)
    assert not Path("r.html").exists()


def test_several_things_asked_count_in_the_fifth_of_each(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn", task="mqar", size=10)
    sample = stored.sample(cell, 0, is_right=True)
    sample["address"] = "mqar/queries=0,size=10/test/seed=0/index=0"
    run = stored.run(Path("runs/two"), {cell: [sample]})
    [row] = rows(workplace.run("report", str(run), "--by", "position", "--json"))
    assert [(part["n"], part["correct"]) for part in row["by_position"]] == [(1, 1)] * 5


def test_a_sample_of_another_version_is_left_out(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn", task="index", size=10)
    of_tomorrow = stored.sample(cell, 0, is_right=True)
    of_tomorrow["address"] = "index/of_tomorrow=1,size=10/test/seed=0/index=0"
    run = stored.run(Path("runs/two"), {cell: [of_tomorrow]})
    [row] = rows(workplace.run("report", str(run), "--by", "position", "--json"))
    assert row["by_position"] is None
