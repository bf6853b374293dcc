"""A new run draws the targets of yes/no tasks evenly, and asks few different samples once each."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

PARITY = ("eval", "--endpoint", "rnn", "--task", "parity", "--prompting", "direct", "--json")

ODD = """
from dataclasses import dataclass
from harness.tasks.parity import Parity

@dataclass(frozen=True, kw_only=True, slots=True)
class Odd(Parity):
    name = "odd"
    few_targets = ("1", "0")
"""


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def targets(workplace: Any) -> Counter[str]:
    return Counter(sample["target"] for sample in workplace.samples())


def test_a_new_run_draws_evenly_and_says_so_in_cell_address_and_row(workplace: Any) -> None:
    [row] = rows(workplace.run(*PARITY, "--size", "16", "--samples", "11"))
    assert row["task_parameters"] == {"balanced": 1}
    assert sorted(targets(workplace).values()) == [5, 6]
    assert all("/balanced=1,size=16/test/" in one["address"] for one in workplace.samples())
    right = Counter(one["target"] for one in workplace.samples() if one["verdict"] == "correct")
    recalls = [right[target] / number for target, number in targets(workplace).items()]
    assert row["balanced_accuracy"] == pytest.approx(sum(recalls) / 2)
    assert (row["majority_rate"], row["chance"]) == (6 / 11, 0.5)


def test_without_balance_a_run_has_the_cells_and_addresses_of_before(workplace: Any) -> None:
    [row] = rows(
        workplace.run(*PARITY, "--size", "16", "--samples", "4", "-T", "parity.balanced=0")
    )
    assert row["task_parameters"] == {}
    for sample in workplace.samples():
        assert sample["cell"] == "rnn/parity/size=16/direct/none/symbolic"
        assert sample["address"].startswith("parity/size=16/test/")


@pytest.mark.parametrize("is_old", [True, False])
def test_a_run_goes_on_drawing_as_it_began(workplace: Any, is_old: bool) -> None:
    off = ("-T", "balanced=0") if is_old else ()
    size = ("--size", "4", "--samples", "30")
    [row] = rows(workplace.run(*PARITY, *size, *off))
    folder = workplace.only_run()
    path = folder / "samples.jsonl"
    before = path.read_text().splitlines(keepends=True)
    path.write_text("".join(before[:3]))
    if is_old:  # as it was stored before there was any of this
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["options"].pop("distinct") is True
        assert manifest["cells"][0].pop("samples") == row["n"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    [again] = rows(workplace.run(*PARITY, *size, "--resume", folder.name))
    after = path.read_text().splitlines(keepends=True)
    addresses = {json.loads(line)["address"] for line in after}
    assert again["n"] == len(after) == len(addresses) == (30 if is_old else row["n"])
    assert addresses >= {json.loads(line)["address"] for line in before}


def test_a_run_does_not_go_on_with_another_balance(workplace: Any) -> None:
    rows(workplace.run(*PARITY, "--size", "16", "--samples", "2"))
    folder = workplace.only_run()
    result = workplace.run("eval", "--resume", folder.name, "-T", "parity.balanced=0")
    assert result.exit_code == 2
    assert "--parameter: the run has parity.balanced=1" in result.stderr


def test_a_size_with_few_different_samples_says_so_and_asks_each_once(workplace: Any) -> None:
    result = workplace.run(*PARITY, "--size", "4,16", "--samples", "40")
    small, large = rows(result)
    contexts = Counter(one["prompt"] for one in workplace.samples())
    assert set(contexts.values()) == {1}
    assert small["n"] < 16 < large["n"] == 40
    told = f"at size 4 has few different samples: {small['n']} are asked in the place of 40"
    assert told in result.stderr
    reported = rows(workplace.run("report", workplace.only_run().name, "--json"))
    assert [
        {**row, **asked} for row, asked in zip(reported, (small, large), strict=True)
    ] == reported
    summary = json.loads((workplace.only_run() / "summary.json").read_text())
    assert (summary["complete"], summary["missing"]) == (True, 0)


def test_a_balance_that_no_task_has_is_named_and_nothing_is_created(workplace: Any) -> None:
    for given, told in (
        ("balanced=2", "parity: balanced 2 is out of range: 0 to 1"),
        ("balanced=yes", "'yes' is not a whole number"),
        ("index.balanced=1", "unknown task of -T 'index'"),
    ):
        result = workplace.run(*PARITY, "-T", given)
        assert (result.exit_code, Path("runs").exists()) == (2, False)
        assert told in result.stderr


def test_tasks_show_and_sample_what_a_new_run_asks(workplace: Any) -> None:
    shown = workplace.run("tasks", "show", "is_tree").stdout
    assert "96 at size 4" in shown
    assert "balanced=1,labels=0,size=4/test/seed=0/index=0" in shown
    assert "at the default size: the degrees at the ends of each edge" in shown
    sampled = workplace.run("tasks", "sample", "is_tree", "-T", "balanced=0").stdout
    assert "is_tree/labels=0,size=16/test/seed=0/index=0" in sampled
    natural = workplace.run("tasks", "sample", "is_tree", "--style", "natural").stdout
    answers = Counter(line for line in natural.splitlines() if line.startswith("Answer:"))
    assert sorted(answers.values()) == [1, 2]


def test_a_task_of_a_file_that_names_its_targets_is_drawn_evenly_and_read_without_it(
    workplace: Any,
) -> None:
    Path("odd.py").write_text(ODD)
    asked = ("eval", "--endpoint", "rnn", "--task", "./odd.py:Odd", "--prompting", "direct")
    [row] = rows(workplace.run(*asked, "--size", "12", "--samples", "8", "--json"))
    assert row["task_parameters"] == {"balanced": 1}
    assert set(targets(workplace).values()) == {4}
    Path("odd.py").unlink()
    [again] = rows(workplace.run("report", workplace.only_run().name, "--json"))
    assert again["balanced_accuracy"] == row["balanced_accuracy"] is not None
    assert again["chance"] is None


@pytest.mark.parametrize(
    ("few", "told"),
    [
        ('("1", "0", "1")', "few_targets has one of them twice"),
        ('("yes", "no")', "Bits.target: '"),
        ('"10"', "few_targets is '10': a tuple of str is wanted"),
    ],
)
def test_few_targets_that_are_not_those_of_the_task_are_named(
    workplace: Any, few: str, told: str
) -> None:
    Path("odd.py").write_text(ODD.replace('("1", "0")', few))
    result = workplace.run("eval", "--endpoint", "rnn", "--task", "./odd.py:Odd")
    assert (result.exit_code, Path("runs").exists()) == (2, False)
    assert told in result.stderr


@pytest.mark.parametrize("number", [0, -1, 41])
def test_a_cell_with_more_samples_than_its_run_or_none_is_no_manifest(
    workplace: Any, number: int
) -> None:
    rows(workplace.run(*PARITY, "--size", "4", "--samples", "40"))
    path = workplace.only_run() / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["cells"][0]["samples"] = number
    path.write_text(json.dumps(manifest))
    result = workplace.run("report", workplace.only_run().name)
    assert result.exit_code == 4
    assert f"has {number} of 40 samples" in result.stderr
