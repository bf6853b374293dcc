"""`-T`: parameters of tasks, from the command to the stored run, its reports, and back."""

import json
from pathlib import Path
from typing import Any

import pytest

NEEDLE = ("eval", "--endpoint", "rnn", "--task", "needle", "--size", "2", "--samples", "4")


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def manifest_of(folder: Path) -> Any:
    return json.loads((folder / "manifest.json").read_text())


def test_a_parameter_is_part_of_cell_address_manifest_and_row(workplace: Any) -> None:
    [row] = rows(workplace.run(*NEEDLE, "-T", "values=1", "-T", "keys=3", "--json"))
    assert row["task_parameters"] == {"keys": 3, "values": 1}
    for sample in workplace.samples():
        assert sample["cell"] == "rnn/needle/keys=3,size=2,values=1/cot/none/symbolic"
        assert sample["address"].startswith("needle/keys=3,size=2,values=1/test/")
        assert sample["prompt"].count(" = ") == 3
    manifest = manifest_of(workplace.only_run())
    assert manifest["options"]["parameter"] == {"needle": {"values": 1, "keys": 3}}
    assert manifest["cells"][0]["parameters"] == {"values": 1, "keys": 3}


def test_without_one_a_cell_has_the_key_that_it_had(workplace: Any) -> None:
    [row] = rows(workplace.run(*NEEDLE, "--json"))
    assert row["task_parameters"] == {}
    assert {s["cell"] for s in workplace.samples()} == {"rnn/needle/size=2/cot/none/symbolic"}


def test_the_limit_of_a_completion_follows_the_parameters(workplace: Any) -> None:
    rows(workplace.run(*NEEDLE, "-T", "values=4", "--prompting", "cot", "--json"))
    [cell] = manifest_of(workplace.only_run())["cells"]
    assert cell["max_new_tokens"] == 2 * (3 * 4 + 4 + 2) + 32


def test_each_of_several_tasks_gets_its_own(workplace: Any) -> None:
    found = rows(
        workplace.run(
            *("eval", "--endpoint", "rnn", "--task", "mqar,phonebook,needle", "--size", "4"),
            *("--samples", "2", "-T", "mqar.queries=3", "-T", "keys=2", "--json"),
        )
    )
    assert {row["task"]: row["task_parameters"] for row in found} == {
        "mqar": {"queries": 3},
        "phonebook": {},
        "needle": {"keys": 2},
    }


def test_the_table_and_the_progress_say_it(workplace: Any) -> None:
    result = workplace.run(*NEEDLE, "-T", "keys=3")
    assert result.exit_code == 0, result.stderr
    assert "task needle keys=3" in result.stdout
    assert "rnn needle keys=3 2 cot: 4 samples" in result.stderr


def test_a_resumed_run_keeps_its_parameters_and_refuses_others(workplace: Any) -> None:
    rows(workplace.run(*NEEDLE, "-T", "keys=3", "--json"))
    folder = workplace.only_run()
    path = folder / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    for given, shown in (("keys=4", "needle.keys=4"), ("values=1", "needle.values=1")):
        result = workplace.run("eval", "--resume", folder.name, "-T", given)
        assert result.exit_code == 2
        assert f"--parameter: the run has needle.keys=3, the command {shown}" in result.stderr
    assert len(workplace.samples()) == 2
    [row] = rows(workplace.run("eval", "--resume", folder.name, "-T", "keys=3", "--json"))
    assert (row["n"], row["task_parameters"]) == (4, {"keys": 3})
    assert len({sample["address"] for sample in workplace.samples()}) == 4


def test_reports_keep_cells_of_other_parameters_apart(workplace: Any) -> None:
    for value in ("3", "5"):
        rows(workplace.run(*NEEDLE, "-T", f"keys={value}", "--out", f"runs{value}", "--json"))
    folders = [str(next(Path(f"runs{value}").iterdir())) for value in ("3", "5")]
    report = workplace.run("report", *folders, "--html", "report.html")
    assert report.exit_code == 0, report.stderr
    pooled = report.stdout.partition("accuracy against size")[0]
    assert all(f"needle keys={value}" in pooled for value in (3, 5))
    page = Path("report.html").read_text()
    for label in ("needle keys=3", "needle keys=5"):
        assert label in report.stdout
        assert f"<h3>{label}</h3>" in page
    found = rows(workplace.run("report", *folders, "--json"))
    assert [row["task_parameters"] for row in found] == [{"keys": 3}, {"keys": 5}]
    compared = workplace.run("compare", *folders)
    assert compared.exit_code == 2
    assert "needle keys=3 size 2: only in the first" in compared.stderr


WRONG = {
    ("--task", "needle", "-T", "kyes=3"): "parameter of needle 'kyes'; did you mean keys?",
    ("--task", "copy,index", "-T", "keys=3"): "unknown parameter of copy, index 'keys'",
    ("--task", "needle", "-T", "values=5"): "values 5 is out of range: 1 to 4",
    ("--task", "needle,copy", "-T", "values=5"): "values 5 is out of range: 1 to 4",
    ("--task", "needle", "-T", "values=two"): "'two' is not a whole number",
    ("--task", "needle", "-T", "values=1.5"): "'1.5' is not a whole number",
    ("--task", "needle", "-T", "values"): "-T takes NAME=N",
    ("--task", "mqar,phonebook", "-T", "queries=2"): "say which, like -T mqar.queries=N",
    ("--task", "needle", "-T", "size=4"): "the size is chosen by --size",
    ("--task", "needle", "-T", "needle.size=4"): "the size is chosen by --size",
    ("--task", "needle", "-T", "keys=4", "-T", "needle.keys=5"): "keys of needle is given twice",
    ("--task", "needle", "-T", "mqar.queries=5"): "unknown task of -T 'mqar'. Known: needle",
    ("--task", "needle", "-T", "neddle.keys=5"): "did you mean needle?",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.items())
def test_a_wrong_parameter_is_named_and_nothing_is_created(
    workplace: Any, arguments: tuple[str, ...], message: str
) -> None:
    result = workplace.run("eval", "--endpoint", "rnn", "--samples", "2", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (workplace.folder / "runs").exists()


def test_a_size_that_does_not_allow_it_is_refused_and_the_others_are_run(workplace: Any) -> None:
    result = workplace.run(
        *("eval", "--endpoint", "rnn", "--task", "ngram_retrieval", "--size", "4,16"),
        *("--samples", "2", "-T", "order=8", "--json"),
    )
    assert result.exit_code == 4
    assert [json.loads(line)["size"] for line in result.stdout.splitlines()] == [16]
    assert "order 8 is out of range: 2 to 4 at size 4" in result.stderr


def test_a_late_parameter_that_is_off_is_as_if_it_were_not_given(workplace: Any) -> None:
    trees = ("eval", "--endpoint", "rnn", "--task", "is_tree", "--size", "6", "--samples", "3")
    [row] = rows(workplace.run(*trees, "--prompting", "direct", "-T", "trace=0", "--json"))
    assert (row["n"], row["task_parameters"]) == (3, {"balanced": 1})


def test_a_cell_that_says_that_a_late_parameter_is_off_is_read(workplace: Any) -> None:
    trees = ("eval", "--endpoint", "rnn", "--task", "is_tree", "--size", "6", "--samples", "3")
    rows(workplace.run(*trees, "--prompting", "direct", "--json"))
    folder = workplace.only_run()
    manifest = manifest_of(folder)
    manifest["cells"][0]["parameters"]["trace"] = 0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    samples = folder / "samples.jsonl"
    samples.write_text(samples.read_text().replace("size=6/direct", "size=6,trace=0/direct"))
    [row] = rows(workplace.run("report", folder.name, "--json"))
    assert row["n"] == 3
