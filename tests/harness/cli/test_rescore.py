import json
from pathlib import Path
from typing import Any

import pytest

from harness.runs.store import RunStore


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.fixture
def folder(workplace: Any, stored: Any) -> Path:
    """Ten samples, by a version that could not tell: the first seven are right, it said none is."""
    cell = stored.cell("rnn")
    samples = [stored.sample(cell, i, is_right=i < 7, of_tomorrow=[2.50]) for i in range(10)]
    for sample in samples[:7]:
        sample.update(answer=None, verdict="no_answer")
    folder: Path = stored.run(workplace.folder / "runs" / "a", {cell: samples})
    (folder / "errors.jsonl").write_text(json.dumps(samples[0]) + "\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "of_tomorrow": 1}))
    return folder


def test_a_run_scored_anew_is_a_new_run_that_says_where_it_comes_from(
    workplace: Any, folder: Path
) -> None:
    before = (folder / "samples.jsonl").read_bytes()
    result = workplace.run("rescore", "a")
    assert result.exit_code == 0, result.stderr
    assert (
        "rnn/assoc_recall/size=4/direct/none/symbolic: no_answer -> correct, 7 samples: assoc"
        in (result.stdout)
    )
    assert "index=4, ..." in result.stdout
    assert f"7 of 10 samples changed; stored in {folder.parent}/" in result.stdout
    assert (folder / "samples.jsonl").read_bytes() == before
    [other] = [path for path in folder.parent.iterdir() if path != folder]
    manifest = json.loads((other / "manifest.json").read_text())
    assert (manifest["run"], manifest["rescored_from"]) == (other.name, "a")
    assert manifest["of_tomorrow"] == 1
    assert (other / "errors.jsonl").read_bytes() == (folder / "errors.jsonl").read_bytes()
    summary = json.loads((other / "summary.json").read_text())
    assert (summary["cells"][0]["correct"], summary["complete"]) == (7, True)
    [row] = [
        json.loads(line)
        for line in workplace.run("report", other.name, "--json").stdout.split("\n")
        if line
    ]
    assert (row["run"], row["accuracy"]) == (other.name, 0.7)


def test_in_place_the_run_itself_changes_and_nothing_but_its_verdicts(
    workplace: Any, folder: Path
) -> None:
    before = lines(folder)
    texts = (folder / "samples.jsonl").read_text().splitlines()
    result = workplace.run("rescore", "a", "--in-place", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["run"], said["rescored_from"], said["samples"], said["changed"]) == (
        "a",
        "a",
        10,
        7,
    )
    [change] = said["changes"]
    assert (change["from"], change["to"], change["samples"]) == ("no_answer", "correct", 7)
    assert change["addresses"] == [line["address"] for line in before[:5]]
    assert names(folder.parent) == ["a"]
    changed = {"answer": "bab", "verdict": "correct"}
    assert lines(folder) == [{**line, **changed} for line in before[:7]] + before[7:]
    assert (folder / "samples.jsonl").read_text().splitlines()[7:] == texts[7:]
    assert names(folder) == ["errors.jsonl", "manifest.json", "samples.jsonl", "summary.json"]
    again = workplace.run("rescore", "a", "--in-place")
    assert again.stdout == "nothing changed: 10 samples of run a\n"


def test_where_nothing_changed_no_run_is_written(workplace: Any, folder: Path) -> None:
    workplace.run("rescore", "a", "--in-place")
    result = workplace.run("rescore", "a", "--json")
    assert (result.exit_code, json.loads(result.stdout)["folder"]) == (0, None)
    assert names(folder.parent) == ["a"]


def test_another_answer_of_the_same_verdict_is_a_change(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    wrong = [stored.sample(cell, i, is_right=False, answer="dok dok") for i in range(2)]
    stored.run(workplace.folder / "runs" / "a", {cell: wrong})
    result = workplace.run("rescore", "a")
    assert "wrong, with another answer, 2 samples" in result.stdout


def spoil_style(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"symbolic"', '"emoji"'))


def spoil_task(folder: Path) -> None:
    path = folder / "manifest.json"
    value = json.loads(path.read_text())
    value["cells"][0]["task"] = "asoc_recall"
    path.write_text(json.dumps(value))


def spoil_line(folder: Path) -> None:
    with (folder / "samples.jsonl").open("a") as file:
        file.write('{"cell": 3}\n')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_style, "Invalid enum value 'emoji' - at `$.cells[0].style`"),
        (spoil_task, "unknown task 'asoc_recall'; did you mean assoc_recall?"),
        (
            spoil_line,
            "samples.jsonl, line 11: Expected `str`, got `int` - at `$.cell`. The file is",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--in-place",)])
def test_a_run_that_cannot_be_scored_is_named_and_stays_as_it_is(
    workplace: Any, folder: Path, spoil: Any, message: str, options: tuple[str, ...]
) -> None:
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = workplace.run("rescore", "a", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names(folder.parent) == ["a"]


def test_a_run_that_is_worked_on_is_not_changed(workplace: Any, folder: Path) -> None:
    store = RunStore(folder)
    result = workplace.run("rescore", "a", "--in-place")
    store.close()
    assert result.exit_code == 2
    assert "is being worked on by another process" in result.stderr


def test_the_new_run_lies_beside_the_old_one_wherever_the_command_is_given(
    workplace: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert workplace.run("rescore", ".").exit_code == 0
    assert len(names(folder.parent)) == 2


def test_an_unknown_run_is_named(workplace: Any) -> None:
    result = workplace.run("rescore", "nope")
    assert result.exit_code == 2
    assert "unknown run 'nope'" in result.stderr


def test_in_place_nothing_changes_where_the_run_is_damaged_elsewhere(
    workplace: Any, folder: Path
) -> None:
    (folder / "errors.jsonl").write_text("[]\n")
    before = (folder / "samples.jsonl").read_bytes()
    for arguments in (["a", "--in-place"], ["a"]):
        result = workplace.run("rescore", *arguments)
        assert result.exit_code == 2
        assert "errors.jsonl, line 1" in result.stderr
    assert (folder / "samples.jsonl").read_bytes() == before
    assert names(folder.parent) == ["a"]


def test_in_place_a_link_stays_one_and_who_may_read_is_who_might(
    workplace: Any, folder: Path
) -> None:
    elsewhere = workplace.folder / "elsewhere.jsonl"
    (folder / "samples.jsonl").rename(elsewhere)
    elsewhere.chmod(0o600)
    (folder / "samples.jsonl").symlink_to(elsewhere)
    (folder / ".samples.jsonl.1.new").write_text("left by a process that was killed")
    assert workplace.run("rescore", "a", "--in-place").exit_code == 0
    assert (folder / "samples.jsonl").is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o600
    assert lines(folder)[0]["verdict"] == "correct"
    assert [name for name in names(folder) if name.endswith(".new")] == []
