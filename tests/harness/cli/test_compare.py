import json
from pathlib import Path
from typing import Any

import pytest
from harnessapi.values import Mode

from harness.scoring.paired import Paired, difference_interval, mcnemar_mid_p
from harness.scoring.sample_size import pairs_needed
from harness.way import Prompting


def run(stored: Any, folder: Path, right: dict[str, list[bool]], **fields: Any) -> Path:
    """One cell of size 4 an endpoint; a name with -rag searches, one with -cot thinks."""
    samples = {}
    for name, verdicts in right.items():
        way = {"prompting": Prompting.SEARCH, "retrieval": Mode.DENSE} if "-rag" in name else {}
        cell = stored.cell(name, **{"size": fields.get("size", 4), **way})
        options = {k: v for k, v in fields.items() if k in {"seed", "alphabet", "target"}}
        samples[cell] = [
            stored.sample(cell, i, is_right=is_right, **options)
            for i, is_right in enumerate(verdicts)
        ]
    return stored.run(folder, samples, seed=fields.get("seed", 0))


FIRST = [True] * 6 + [False] * 4
SECOND = [False] * 5 + [True] * 2 + [False] * 3


def test_samples_are_paired_by_their_address(workplace: Any, stored: Any) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": FIRST})
    folder = run(stored, workplace.folder / "runs" / "b", {"ssm": SECOND})
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(reversed(lines)))
    result = workplace.run("compare", "a", "b", "--json")
    assert result.exit_code == 0, result.stderr
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (row["n"], row["only_first"], row["only_second"], row["unpaired"]) == (10, 5, 1, 0)
    assert (row["accuracy_first"], row["accuracy_second"]) == (0.6, 0.2)
    assert row["difference"] == pytest.approx(0.4)
    assert row["p"] == mcnemar_mid_p(5, 1) == 0.125
    pairs = Paired(both=1, only_first=5, only_second=1, neither=3)
    assert row["ci95"] == list(difference_interval(pairs))


def test_two_endpoints_of_one_run_are_compared_across_their_ways(
    workplace: Any, stored: Any
) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": SECOND, "rnn-rag": FIRST})
    result = workplace.run("compare", "a:rnn-rag", "a:rnn")
    assert result.exit_code == 0, result.stderr
    for words in ("A: rnn-rag of run a", "search dense", "+0.400", "0.125"):
        assert words in result.stdout


def test_a_sample_without_its_twin_is_counted(workplace: Any, stored: Any) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": FIRST})
    folder = run(stored, workplace.folder / "runs" / "b", {"rnn": SECOND})
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[:-2]))
    result = workplace.run("compare", "a", "b", "--json")
    row = json.loads(result.stdout)
    assert (row["n"], row["unpaired"]) == (8, 2)
    assert "2 samples have a completion on one side alone" in result.stderr


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "seed: 0 and 1"),
        ({"size": 8}, "assoc_recall size 4: only in the first"),
        ({"alphabet": 64}, "assoc_recall, alphabet: 128 and 64"),
        ({"target": "gik"}, "10 samples have another target"),
    ],
)
def test_runs_of_other_samples_are_refused_with_what_differs(
    workplace: Any, stored: Any, other: dict[str, Any], message: str
) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": FIRST})
    run(stored, workplace.folder / "runs" / "b", {"rnn": SECOND}, **other)
    result = workplace.run("compare", "a", "b")
    assert result.exit_code == 2
    assert "were not asked the same samples" in result.stderr
    assert message in result.stderr


def test_runs_of_more_and_fewer_samples_are_refused(workplace: Any, stored: Any) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": FIRST})
    run(stored, workplace.folder / "runs" / "b", {"rnn": FIRST[:5]})
    result = workplace.run("compare", "a", "b")
    assert result.exit_code == 2
    assert "samples: 10 and 5" in result.stderr


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        (("a", "a"), "which endpoint? Name one of rnn, rnn-rag as RUN:ENDPOINT"),
        (("a:ssm", "a:rnn"), "no endpoint 'ssm'"),
        (("a:rnn:cot", "a:rnn"), "rnn has no way 'cot', but direct"),
        (("nope", "a:rnn"), "unknown run 'nope'"),
        (("nope:rnn", "a:rnn"), "unknown run 'nope'"),
    ],
)
def test_a_side_has_to_be_one_endpoint_of_a_run(
    workplace: Any, stored: Any, sides: tuple[str, str], message: str
) -> None:
    run(stored, workplace.folder / "runs" / "a", {"rnn": FIRST, "rnn-rag": FIRST})
    result = workplace.run("compare", *sides)
    assert result.exit_code == 2
    assert message in result.stderr


def test_several_ways_need_a_choice_and_are_all_compared_where_shared(
    workplace: Any, stored: Any
) -> None:
    direct, cot = (stored.cell("rnn", prompting=p) for p in (Prompting.DIRECT, Prompting.COT))
    search = stored.cell("rnn-rag", prompting=Prompting.SEARCH, retrieval=Mode.DENSE)
    samples = {
        cell: [stored.sample(cell, i, is_right=True) for i in range(4)]
        for cell in (direct, cot, search)
    }
    stored.run(workplace.folder / "runs" / "a", samples)
    refused = workplace.run("compare", "a:rnn", "a:rnn-rag")
    assert refused.exit_code == 2
    assert "choose with RUN:ENDPOINT:WAY" in refused.stderr
    chosen = workplace.run("compare", "a:rnn:cot", "a:rnn-rag", "--json")
    assert json.loads(chosen.stdout)["first"]["prompting"] == "cot"
    both = workplace.run("compare", "a:rnn", "a:rnn", "--json")
    assert len(both.stdout.splitlines()) == 2
    part = workplace.run("compare", "a:rnn", "a:rnn:cot", "--json")
    assert len(part.stdout.splitlines()) == 1
    assert "not compared: rnn/assoc_recall/size=4/direct/none/symbolic" in part.stderr


def both_sides(workplace: Any, stored: Any) -> None:
    """Side `a` has sizes 4 and 8, side `b` has 8 and 16; of another task both have size 4."""
    for name, sizes in (("a", (4, 8)), ("b", (8, 16))):
        cells = [stored.cell("rnn", size=size) for size in sizes]
        cells.append(stored.cell("rnn", task="index"))
        samples = {
            cell: [stored.sample(cell, i, is_right=True) for i in range(4)] for cell in cells
        }
        stored.run(workplace.folder / "runs" / name, samples)


def asked(result: Any) -> list[tuple[str, int]]:
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return [(row["task"], row["size"]) for row in rows]


def test_what_both_have_is_paired_and_what_one_lacks_is_said(workplace: Any, stored: Any) -> None:
    both_sides(workplace, stored)
    result = workplace.run("compare", "a", "b", "--json")
    assert asked(result) == [("assoc_recall", 8), ("index", 4)]
    for size in (4, 16):
        assert f"not compared: rnn/assoc_recall/size={size}/direct/none" in result.stderr


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (("--task", "index"), [("index", 4)]),
        (("--size", "8,16"), [("assoc_recall", 8)]),
        (("--task", "assoc_recall,index", "--size", "4"), [("index", 4)]),
    ],
)
def test_tasks_and_sizes_are_chosen(
    workplace: Any, stored: Any, options: tuple[str, ...], rows: list[tuple[str, int]]
) -> None:
    both_sides(workplace, stored)
    assert asked(workplace.run("compare", "a", "b", "--json", *options)) == rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "16"), "assoc_recall size 16: only in the second"),
        (("--size", "5"), "unknown size '5'. Known: 4, 8, 16"),
        (("--task", "indx"), "unknown task 'indx'; did you mean index?"),
        (("--task", "index", "--size", "8"), "nothing of task index has size 8"),
        (("--size", "x"), "'x' is not a valid integer"),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(
    workplace: Any, stored: Any, options: tuple[str, ...], message: str
) -> None:
    both_sides(workplace, stored)
    result = workplace.run("compare", "a", "b", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def compared(workplace: Any, stored: Any, right: dict[int, tuple[list[bool], list[bool]]]) -> None:
    """A cell a size: what `a` and what `b` has right."""
    for name, side in (("a", 0), ("b", 1)):
        samples = {}
        for size, verdicts in right.items():
            cell = stored.cell("rnn", size=size)
            samples[cell] = [
                stored.sample(cell, i, is_right=one) for i, one in enumerate(verdicts[side])
            ]
        stored.run(workplace.folder / "runs" / name, samples)


ALL, NONE, HALF = [True] * 10, [False] * 10, [True] * 5 + [False] * 5


def test_p_is_adjusted_for_all_rows_of_a_comparison(workplace: Any, stored: Any) -> None:
    compared(workplace, stored, {4: (ALL, NONE), 8: (ALL, HALF), 16: (ALL, ALL)})
    result = workplace.run("compare", "a", "b", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    values = [row["p"] for row in rows]
    assert values == [mcnemar_mid_p(10, 0), mcnemar_mid_p(5, 0), 1.0]
    assert [row["p_holm"] for row in rows] == [3 * values[0], 2 * values[1], 1.0]
    assert "p Holm" in workplace.run("compare", "a", "b").stdout


def test_power_says_how_many_samples_it_takes(workplace: Any, stored: Any) -> None:
    compared(workplace, stored, {4: (ALL, HALF), 8: (ALL, ALL)})
    seen = workplace.run("compare", "a", "b", "--size", "4", "--power", "--json")
    assert seen.exit_code == 0, seen.stderr
    assert json.loads(seen.stdout)["power"] == {
        "difference": 0.5,
        "discordant": 0.5,
        "samples": pairs_needed(0.5, 0.5),
        "alpha": 0.05,
        "power": 0.8,
    }
    wanted = workplace.run("compare", "a", "b", "--power", "--difference", "0.05", "--json")
    assert wanted.exit_code == 0, wanted.stderr
    powers = [json.loads(line)["power"] for line in wanted.stdout.splitlines()]
    assert [(one["discordant"], one["samples"]) for one in powers] == [
        (0.5, pairs_needed(0.05, 0.5)),
        (0.05, pairs_needed(0.05, 0.05)),
    ]
    assert "samples" in workplace.run("compare", "a", "b", "--size", "4", "--power").stdout


def test_power_without_a_difference_names_the_cells_and_prints_the_others(
    workplace: Any, stored: Any
) -> None:
    compared(workplace, stored, {4: (ALL, HALF), 8: (ALL, ALL), 16: (HALF, HALF[::-1])})
    result = workplace.run("compare", "a", "b", "--power", "--json")
    assert result.exit_code == 2
    assert "no difference to see in 2 of 3 rows" in result.stderr
    for size, why in ((8, "0 pairs each way"), (16, "5 pairs each way")):
        key = f"rnn/assoc_recall/size={size}/direct/none/symbolic"
        assert f"{key} and {key}: {why}" in result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["power"] is None for row in rows] == [False, True, True]
    table = workplace.run("compare", "a", "b", "--power")
    assert table.exit_code == 2
    assert "+0.500" in table.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--power", "--difference", "0"), "0 is no difference"),
        (("--power", "--difference", "nan"), "nan is no difference"),
        (("--power", "--difference", "1.5"), "1.5 is no difference"),
        (("--power", "--difference", "1e-200"), "1e-200: no run is long enough"),
        (("--power", "--difference", "much"), "'much' is not a valid float"),
        (("--difference", "0.1"), "--difference needs --power"),
    ],
)
def test_a_difference_is_a_share_and_needs_power(
    workplace: Any, stored: Any, options: tuple[str, ...], message: str
) -> None:
    compared(workplace, stored, {4: (ALL, HALF)})
    result = workplace.run("compare", "a", "b", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not result.stdout
