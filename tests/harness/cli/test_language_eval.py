"""A language model over gRPC, asked in plain language: as a conversation or as a text."""

import json

import pytest

LANGUAGE = {"styles": ["natural"], "has_chat_template": True}
EVAL = ("eval", "--task", "assoc_recall", "--size", "4", "--samples", "3", "--prompting", "direct")


def endpoints(workplace, api: str | None) -> None:
    line = "" if api is None else f'api = "{api}"\n'
    (workplace.folder / "endpoints.toml").write_text(f'[rnn]\ncheckpoint = "rnn"\n{line}')


def stored(workplace) -> tuple[dict, list[dict]]:
    [folder] = (workplace.folder / "runs").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = (folder / "samples.jsonl").read_text().splitlines()
    return manifest, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("has_template", "api", "expected"),
    [
        (True, None, "turns"),
        (True, "completions", "completions"),
        (False, None, "completions"),
        (True, "chat", "chat"),
        (True, "turns", "turns"),
    ],
)
def test_a_model_with_a_chat_template_is_asked_in_turns_unless_its_endpoint_says_otherwise(
    workplace, has_template: bool, api: str | None, expected: str
) -> None:
    workplace.script(**{**LANGUAGE, "has_chat_template": has_template})
    endpoints(workplace, api)
    result = workplace.run(*EVAL, "--endpoint", "rnn")
    assert result.exit_code == 0, result.output
    manifest, samples = stored(workplace)
    assert manifest["endpoints"][0]["api"] == expected
    assert {sample["verdict"] for sample in samples} == {"correct"}
    # The fake counts words: a message has one more, its role. Of turns there are seven, and none
    # of the ten words that say that problems are solved below.
    more_words = {len(s["prompt_token_ids"]) - len(s["prompt"].split()) for s in samples}
    assert more_words == {{"completions": 0, "chat": 1, "turns": 7 - 10}[expected]}


@pytest.mark.parametrize("api", ["completions", "turns"])
def test_a_run_is_not_finished_by_asking_otherwise(workplace, api: str) -> None:
    workplace.script(**LANGUAGE)
    endpoints(workplace, "chat")
    assert workplace.run(*EVAL, "--endpoint", "rnn").exit_code == 0
    [folder] = (workplace.folder / "runs").iterdir()
    lines = (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "samples.jsonl").write_bytes(b"".join(lines[:-1]))
    endpoints(workplace, api)
    result = workplace.run("eval", "--resume", folder.name)
    assert result.exit_code == 2
    assert f"endpoint rnn, api: the run has chat, now it is {api}" in result.stderr
    # Without a word about it, it goes on as it began.
    endpoints(workplace, None)
    assert workplace.run("eval", "--resume", folder.name).exit_code == 0
    manifest, samples = stored(workplace)
    assert (manifest["endpoints"][0]["api"], len(samples)) == ("chat", 3)
    assert len({len(s["prompt_token_ids"]) - len(s["prompt"].split()) for s in samples}) == 1


def test_a_model_that_reads_symbols_is_given_no_message(workplace) -> None:
    workplace.script(has_chat_template=True)
    result = workplace.run(*EVAL, "--endpoint", "rnn")
    assert result.exit_code == 0, result.output
    manifest, samples = stored(workplace)
    assert manifest["endpoints"][0]["api"] is None
    assert {sample["verdict"] for sample in samples} == {"correct"}
