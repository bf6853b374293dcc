"""`harness eval --log-probs K`: what is stored, what a resumed run compares, and who is refused."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

EVAL = ("eval", "--task", "assoc_recall", "--size", "2", "--samples", "4")
DIRECT = (*EVAL, "--endpoint", "rnn", "--prompting", "direct")
SEARCH = (*EVAL, "--endpoint", "rnn-rag", "--prompting", "search")


@pytest.fixture
def scoring(workplace: Any) -> Any:
    workplace.script(max_top_log_probs=5)
    return workplace


def written(sample: dict[str, Any]) -> list[str]:
    """The tokens of the fake: words, and an end of the sequence."""
    texts = [text for part, text in sample["transcript"] if part != "inserted"]
    return [*" ".join(texts).split(), "<eos>"]


@pytest.mark.parametrize("num_top", [0, 2])
@pytest.mark.parametrize("command", [DIRECT, SEARCH])
def test_each_generated_token_is_stored_with_the_likeliest_of_its_place(
    scoring: Any, command: tuple[str, ...], num_top: int
) -> None:
    result = scoring.run(*command, "--log-probs", str(num_top))
    assert result.exit_code == 0, result.stderr
    for sample in scoring.samples():
        assert [one["token"] for one in sample["log_probs"]] == written(sample)
        for one in sample["log_probs"]:
            assert one["log_prob"] == -len(one["token"]) / 8
            likeliest = [(top["token"], top["log_prob"]) for top in one["top"]]
            assert likeliest == [("likely", -1 / 16), ("likely1", -1 / 8)][:num_top]
    manifest = json.loads((scoring.only_run() / "manifest.json").read_text())
    assert manifest["options"]["log_probs"] == num_top


def test_in_a_conversation_they_are_stored_too(scoring: Any) -> None:
    scoring.script(max_top_log_probs=5, styles=["natural"], has_chat_template=True)
    assert scoring.run(*DIRECT, "--log-probs", "1").exit_code == 0
    for sample in scoring.samples():
        assert [one["token"] for one in sample["log_probs"]] == written(sample)


def test_every_repeat_has_its_own(scoring: Any) -> None:
    assert scoring.run(*DIRECT, "--repeats", "3", "--log-probs", "0").exit_code == 0
    samples = scoring.samples()
    assert len(samples) == 12
    assert {len(sample["log_probs"]) for sample in samples} == {3}


def test_where_they_are_not_asked_for_a_line_is_as_it_was(scoring: Any) -> None:
    assert scoring.run(*DIRECT).exit_code == 0
    assert not any("log_probs" in sample for sample in scoring.samples())


def test_a_resumed_run_asks_as_it_began(scoring: Any) -> None:
    assert scoring.run(*DIRECT, "--log-probs", "1").exit_code == 0
    folder = scoring.only_run()
    path = folder / "samples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]))
    result = scoring.run("eval", "--resume", folder.name, "--log-probs", "2")
    assert result.exit_code == 2
    assert "--log-probs: the run has 1, the command 2" in result.stderr
    assert scoring.run("eval", "--resume", folder.name, "--log-probs", "1").exit_code == 0
    samples = scoring.samples()
    assert path.read_text().startswith("".join(lines[:2]))
    assert {(len(one["log_probs"]), len(one["log_probs"][0]["top"])) for one in samples} == {(3, 1)}


def test_a_run_of_before_there_were_any_goes_on_without_them(scoring: Any) -> None:
    assert scoring.run(*DIRECT).exit_code == 0
    folder = scoring.only_run()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["options"]["log_probs"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    path = folder / "samples.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    result = scoring.run("eval", "--resume", folder.name, "--log-probs", "1")
    assert result.exit_code == 2
    assert "--log-probs: the run has the default, the command 1" in result.stderr
    assert scoring.run("eval", "--resume", folder.name).exit_code == 0
    assert len(scoring.samples()) == 4
    assert not any("log_probs" in sample for sample in scoring.samples())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ({}, "endpoint 'rnn': its model 'fake' gives no log-probabilities"),
        ({"max_top_log_probs": 5}, "endpoint 'rnn': its model 'fake' gives at most 5 a token"),
    ],
)
def test_a_model_that_does_not_give_so_many_is_asked_nothing(
    workplace: Any, script: dict[str, Any], said: str
) -> None:
    workplace.script(**script)
    result = workplace.run(*DIRECT, "--log-probs", "6")
    assert result.exit_code == 2
    assert f"--log-probs 6: {said}" in result.stderr
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize(
    "lines",
    [
        'address = "http://127.0.0.1:9/v1"\nmodel = "m"\n',
        'address = "127.0.0.1:9"\nprotocol = "vllm"\ntokenizer = "rnn"\n',
    ],
)
def test_a_server_of_others_is_refused_before_it_is_connected_to(
    workplace: Any, lines: str
) -> None:
    Path("endpoints.toml").write_text(f"[rnn]\n{lines}")
    result = workplace.run(*DIRECT, "--log-probs", "0")
    assert result.exit_code == 2
    assert "--log-probs 0: endpoint 'rnn' (" in result.stderr
    assert "is not asked for log-probabilities" in result.stderr
    assert not list(Path("runs").glob("*"))


def test_of_a_grid_those_that_give_them_are_asked(scoring: Any) -> None:
    Path("endpoints.toml").write_text('[rnn]\ncheckpoint = "rnn"\n[mute]\ncheckpoint = "mute"\n')
    Path("mute").mkdir()
    Path("mute/fake.json").write_text("{}")
    result = scoring.run(*EVAL, "--endpoint", "rnn,mute", "--prompting", "direct", "--log-probs=1")
    assert result.exit_code == 4
    assert "refused, 1 cell: --log-probs 1: endpoint 'mute': its model" in result.stderr
    assert {sample["cell"].partition("/")[0] for sample in scoring.samples()} == {"rnn"}
    assert len(scoring.samples()) == 4


@pytest.mark.parametrize("value", ["-1", "21", "x"])
def test_a_number_out_of_range_is_named(scoring: Any, value: str) -> None:
    result = scoring.run(*DIRECT, "--log-probs", value)
    assert result.exit_code == 2
    assert value in result.stderr


def test_a_table_of_samples_has_their_sum_and_each_of_them(scoring: Any) -> None:
    assert scoring.run(*SEARCH, "--log-probs", "1").exit_code == 0
    run = scoring.only_run().name
    assert scoring.run("export", run, "--csv", "s.csv", "--jsonl", "s.jsonl").exit_code == 0
    with Path("s.csv").open(newline="") as file:
        in_csv = list(csv.DictReader(file))
    in_jsonl = [json.loads(line) for line in Path("s.jsonl").read_text().splitlines()]
    for sample, one, other in zip(scoring.samples(), in_csv, in_jsonl, strict=True):
        expected = sum(token["log_prob"] for token in sample["log_probs"])
        assert float(one["log_prob"]) == other["log_prob"] == pytest.approx(expected)
        assert json.loads(one["log_probs"]) == json.loads(other["log_probs"])
        assert json.loads(one["log_probs"]) == sample["log_probs"]


def test_a_table_of_samples_without_them_has_empty_places(scoring: Any) -> None:
    assert scoring.run(*DIRECT).exit_code == 0
    scoring.run("export", scoring.only_run().name, "--jsonl", "s.jsonl")
    row = json.loads(Path("s.jsonl").read_text().splitlines()[0])
    assert (row["log_prob"], row["log_probs"]) == (None, None)


def test_scoring_anew_keeps_them(scoring: Any) -> None:
    assert scoring.run(*DIRECT, "--log-probs", "1").exit_code == 0
    folder = scoring.only_run()
    path = folder / "samples.jsonl"
    before = scoring.samples()
    path.write_text(path.read_text().replace('"verdict":"correct"', '"verdict":"wrong"'))
    assert scoring.run("rescore", folder.name, "--in-place").exit_code == 0
    assert scoring.samples() == before
