"""The lenient verdict stands beside the exact one wherever that is told; old runs have it too."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from harness.way import Style

REPLIES = (
    "Answer: bab",
    "**Final Answer:**\n\n$\\boxed{bab}$<|im_end|>",
    "So the value is bab.",
    "It is bab.\nIs it?",
    "<think>Answer: bab</think>\nI do not know.",
)


@pytest.fixture
def old(workplace: Any, stored: Any) -> Path:
    """By a version that knew one label and no more: the first reply is right, the rest is none."""
    cell = stored.cell("llm", style=Style.NATURAL)
    samples = [
        stored.sample(cell, number, is_right=True, transcript=[["answer", reply]])
        for number, reply in enumerate(REPLIES)
    ]
    for sample in samples[1:4]:
        sample.update(answer=None, verdict="no_answer")
    folder: Path = stored.run(workplace.folder / "runs" / "old", {cell: samples})
    return folder


def row(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_rescoring_an_old_run_reads_it_as_a_person_would(workplace: Any, old: Path) -> None:
    said = row(workplace.run("rescore", "old", "--in-place", "--json"))
    steps = [(change["from"], change["to"], change["samples"]) for change in said["changes"]]
    assert steps == [("no_answer", "correct", 1), ("correct", "no_answer", 1)]
    lines = [json.loads(line) for line in (old / "samples.jsonl").read_text().splitlines()]
    assert [line["answer"] for line in lines] == ["bab", "bab", None, None, None]
    assert lines[4]["verdict"] == "no_answer"


def test_a_report_has_both_verdicts_of_a_run_that_knew_but_one(workplace: Any, old: Path) -> None:
    workplace.run("rescore", "old", "--in-place")
    cell = row(workplace.run("report", "old", "--json"))
    assert (cell["correct"], cell["lenient_correct"], cell["n"]) == (2, 3, 5)
    assert (cell["accuracy"], cell["lenient_accuracy"]) == (0.4, 0.6)
    assert "lenient" in workplace.run("report", "old").stdout
    assert workplace.run("report", "old", "--html", "r.html").exit_code == 0
    assert "lenient</th>" in Path("r.html").read_text()


def test_a_comparison_and_an_export_have_it_too(workplace: Any, old: Path) -> None:
    workplace.run("rescore", "old", "--in-place")
    compared = row(workplace.run("compare", "old", "old", "--json"))
    assert (compared["accuracy_first"], compared["lenient_accuracy_first"]) == (0.4, 0.6)
    assert compared["lenient_accuracy_second"] == 0.6
    assert "lenient A" in workplace.run("compare", "old", "old").stdout
    workplace.run("export", "old", "--csv", "s.csv")
    with Path("s.csv").open(newline="") as file:
        told = [(line["is_correct"], line["is_lenient"]) for line in csv.DictReader(file)]
    exact, lenient = zip(*told, strict=True)
    assert exact == ("True", "True", "False", "False", "False")
    assert lenient == ("True", "True", "True", "False", "False")


def test_what_was_cut_off_is_not_right_leniently(workplace: Any, stored: Any) -> None:
    cell = stored.cell("llm", style=Style.NATURAL)
    cut = {"verdict": "truncated", "finish_reason": "length", "answer": "bab"}
    stored.run(Path("runs/a"), {cell: [stored.sample(cell, 0, is_right=True, **cut)]})
    assert row(workplace.run("report", "a", "--json"))["lenient_correct"] == 0


def test_the_symbolic_style_and_an_unknown_task_have_none(workplace: Any, stored: Any) -> None:
    cells = {
        "symbolic": stored.cell("rnn"),
        "unknown": stored.cell("llm", style=Style.NATURAL, task="of_tomorrow"),
    }
    for name, cell in cells.items():
        stored.run(Path("runs", name), {cell: [stored.sample(cell, 0, is_right=True)]})
        told = row(workplace.run("report", name, "--json"))
        assert (told["accuracy"], told["lenient_correct"], told["lenient_accuracy"]) == (
            1,
            None,
            None,
        )
        assert "lenient" not in workplace.run("report", name).stdout
        assert "lenient" not in workplace.run("compare", name, name).stdout
    workplace.run("report", "symbolic", "--html", "r.html")
    assert "lenient</th>" not in Path("r.html").read_text()


def test_what_a_filter_kept_back_is_not_right_leniently(workplace: Any, stored: Any) -> None:
    cell = stored.cell("llm", style=Style.NATURAL)
    kept = {"verdict": "filtered", "finish_reason": "content_filter", "answer": None}
    lines = [stored.sample(cell, 0, is_right=True, transcript=[], **kept)]
    lines.append(stored.sample(cell, 1, is_right=True, transcript=[["answer", "Answer: bab"]]))
    stored.run(Path("runs/a"), {cell: lines})
    told = row(workplace.run("report", "a", "--json"))
    assert (told["accuracy"], told["lenient_accuracy"], told["filtered"]) == (0.5, 0.5, 1)
    assert row(workplace.run("rescore", "a", "--json"))["changed"] == 0
