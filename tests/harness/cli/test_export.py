import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from harnessapi.values import Mode

from harness.reports.flat import COLUMNS
from harness.sample import Address, Split
from harness.way import Prompting

parquet = pytest.importorskip("pyarrow.parquet")


def search_run(stored: Any, folder: Path, num_samples: int = 5) -> Path:
    cell = stored.cell("rnn-rag", prompting=Prompting.SEARCH, retrieval=Mode.DENSE)
    lines = [stored.sample(cell, i, is_right=i > 0) for i in range(num_samples)]
    return stored.run(folder, {cell: lines})


def test_every_format_has_the_same_rows(workplace: Any, stored: Any) -> None:
    search_run(stored, workplace.folder / "runs" / "a")
    files = ("--parquet", "s.parquet", "--csv", "s.csv", "--jsonl", "s.jsonl")
    result = workplace.run("export", "a", *files)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("5 samples written to") == 3
    rows = parquet.read_table("s.parquet").to_pylist()
    assert [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()] == rows
    with Path("s.csv").open(newline="") as file:
        texts = list(csv.DictReader(file))
    assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == texts
    assert [list(row) for row in rows] == [list(COLUMNS)] * 5


def test_a_row_is_flat_and_says_all_of_a_sample(workplace: Any, stored: Any) -> None:
    search_run(stored, workplace.folder / "runs" / "a")
    workplace.run("export", "a", "--jsonl", "s.jsonl")
    row = json.loads(Path("s.jsonl").read_text().splitlines()[3])
    assert (row["run"], row["endpoint"], row["family"]) == ("a", "rnn-rag", "RNN")
    assert (row["task"], row["size"], row["seed"], row["index"]) == ("assoc_recall", 4, 0, 3)
    assert (row["prompting"], row["retrieval"], row["style"]) == ("search", "dense", "symbolic")
    assert (row["verdict"], row["is_correct"], row["ttft_ms"]) == ("correct", True, 5.0)
    assert row["transcript"] == (
        "[query]<search> fem </search>[inserted]fem bab[answer]<answer> bab"
    )
    assert row["generated"] == "<search> fem </search> <answer> bab"
    # Stored before there were any.
    assert row["token_interval_ms_p50"] is None
    assert row["search_disagreements"] is None
    assert not any(isinstance(value, list | dict) for value in row.values())


def test_several_runs_make_one_table(workplace: Any, stored: Any) -> None:
    for name in ("a", "b"):
        search_run(stored, workplace.folder / "runs" / name)
    workplace.run("export", "a", "b", "--parquet", "s.parquet")
    assert parquet.read_table("s.parquet")["run"].to_pylist() == ["a"] * 5 + ["b"] * 5


def test_a_large_run_is_written_in_pieces(workplace: Any, stored: Any) -> None:
    search_run(stored, workplace.folder / "runs" / "a", num_samples=4100)
    workplace.run("export", "a", "--parquet", "s.parquet")
    file = parquet.ParquetFile("s.parquet")
    assert (file.metadata.num_rows, file.num_row_groups) == (4100, 3)


def test_a_damaged_run_leaves_no_file(workplace: Any, stored: Any) -> None:
    folder = search_run(stored, workplace.folder / "runs" / "a")
    with (folder / "samples.jsonl").open("a") as file:
        file.write("{}\n")
    for option in ("--parquet", "--csv", "--jsonl"):
        result = workplace.run("export", "a", option, "out")
        assert result.exit_code == 2
        assert "line 6: Object missing required field `" in result.stderr
    assert not [path for path in Path().iterdir() if "out" in path.name]


def test_what_is_missing_is_said(workplace: Any, stored: Any) -> None:
    folder = search_run(stored, workplace.folder / "runs" / "a")
    lines = (folder / "samples.jsonl").read_text().splitlines(keepends=True)
    (folder / "samples.jsonl").write_text("".join(lines[1:]))
    result = workplace.run("export", "a", "--csv", "s.csv")
    assert result.exit_code == 0
    assert "1 samples that the runs ask for are not in it" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "--parquet, --csv or --jsonl FILE is needed"),
        (["nope", "--csv", "s.csv"], "unknown run 'nope'"),
        (["a", "--csv", "no/s.csv"], "cannot write no/s.csv"),
        (["a", "--parquet", "no/s.parquet"], "cannot write no/s.parquet"),
    ],
)
def test_a_wrong_export_command_exits_2(
    workplace: Any, stored: Any, arguments: list[str], message: str
) -> None:
    search_run(stored, workplace.folder / "runs" / "a")
    result = workplace.run("export", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_pyarrow_the_extra_is_named(workplace: Any, stored: Any) -> None:
    search_run(stored, workplace.folder / "runs" / "a")
    program = "import sys; sys.modules['pyarrow'] = None\nfrom harness.cli import main\nmain()"
    process = workplace.start_program(program, "export", "a", "--parquet", "s.parquet")
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "recall-harness[export]" in stderr


def test_a_number_that_parquet_does_not_reach_is_named(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    for seed, status in ((2**63 - 1, 0), (2**63, 2), (2**70, 2)):
        name = str(seed)
        samples = [stored.sample(cell, i, is_right=True, seed=seed) for i in range(3)]
        stored.run(Path("runs", name), {cell: samples}, seed=seed)
        result = workplace.run("export", name, "--parquet", "s.parquet")
        assert result.exit_code == status, result.stderr
        if status:
            assert f"run {name}: seed is {seed}, and an integer of Parquet ends at" in result.stderr
            assert not Path("s.parquet").exists()
        else:
            assert parquet.read_table("s.parquet")["seed"].to_pylist() == [seed] * 3
            Path("s.parquet").unlink()
        for option in ("--csv", "--jsonl"):
            assert workplace.run("export", name, option, "s").exit_code == 0
            assert name in Path("s").read_text()


def test_one_run_in_two_folders_is_named_and_not_counted_twice(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    stored.run(Path("runs/a"), {cell: [stored.sample(cell, 0, is_right=True)]})
    shutil.copytree("runs/a", "elsewhere")
    result = workplace.run("export", "runs/a", "elsewhere", "--csv", "s.csv")
    assert result.exit_code == 2
    assert "runs/a and elsewhere are the same run: name one" in result.stderr
    assert not Path("s.csv").exists()
    # The same folder by two names is one.
    assert workplace.run("export", "a", "runs/a", "--csv", "s.csv").exit_code == 0


def test_an_address_is_read_back() -> None:
    for parameters in ((), (("size", 3),), (("alphabet", 128), ("size", 3))):
        address = Address(task="a", parameters=parameters, split=Split.TEST, seed=4, index=5)
        assert Address.from_key(address.key) == address
    for key in ("", "a/b", "a/size=x/test/seed=0/index=0"):
        with pytest.raises(ValueError):  # noqa: PT011
            Address.from_key(key)


def test_the_logs_of_the_fleet_among_runs_are_no_run(workplace: Any, stored: Any) -> None:
    cell = stored.cell("rnn")
    stored.run(Path("runs/a"), {cell: [stored.sample(cell, 0, is_right=True)]})
    logs = Path("runs/up")
    logs.mkdir()
    (logs / "endpoints.toml").touch()
    for command in (("export", "--csv", "out.csv"), ("report", "--json")):
        name, *options = command
        result = workplace.run(name, "runs/a", "runs/up", *options)
        assert result.exit_code == 0, result.stderr
    assert workplace.run("export", "runs/up", "--csv", "out.csv").exit_code == 2
