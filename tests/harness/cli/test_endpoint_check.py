"""`harness endpoints check`: one question, and what its answer tells; requests told by options."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.fakes.fake_openai import FakeOpenAi, Reply, solve
from harness.fakes.picky_servers import picky_server

Start = Callable[[FakeOpenAi], FakeOpenAi]


def write(server: FakeOpenAi, rest: str = "", *, model: str = "m") -> None:
    Path("endpoints.toml").write_text(
        f'[far]\naddress = "{server.address}"\nmodel = "{model}"\n{rest}'
    )


def learnt(workplace: Any) -> dict[str, Any]:
    result = workplace.run("endpoints", "check", "far", "--json")
    assert result.exit_code == 0, result.stderr
    [line] = result.stdout.splitlines()
    return dict(json.loads(line)["learnt"])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no-max-tokens", {"refused_parameters": ["max_tokens"], "takes_stop_strings": True}),
        ("no-temperature", {"refused_parameters": ["temperature"]}),
        ("no-stream-options", {"refused_parameters": ["stream_options"]}),
        ("no-stop", {"refused_parameters": ["stop"], "takes_stop_strings": False}),
        ("ignores-stop", {"refused_parameters": [], "takes_stop_strings": False}),
        ("no-list", {"is_listed": None, "context_limit": None}),
        ("busy-list", {"is_listed": None}),
    ],
)
def test_a_check_tells_what_a_server_wants(
    workplace: Any, start: Start, name: str, told: dict[str, Any]
) -> None:
    write(start(picky_server(name)))
    found = learnt(workplace)
    assert found.items() >= told.items()
    assert found["answer"].endswith(f"Answer: {found['target']}")


@pytest.mark.parametrize("decoding", ["in batches", "row by row", ""])
def test_a_check_tells_how_a_server_of_ours_decodes(workplace: Any, decoding: str) -> None:
    workplace.script(decoding=decoding)
    result = workplace.run("endpoints", "check", "rnn")
    assert result.exit_code == 0, result.stderr
    [engine] = [line for line in result.stdout.splitlines() if line.startswith("  engine ")]
    assert engine.endswith(f", cpu, decodes {decoding}" if decoding else ", cpu")
    told = json.loads(workplace.run("endpoints", "check", "rnn", "--json").stdout)
    assert told["model"]["decoding"] == decoding


def test_a_check_tells_of_counts_pieces_and_names(workplace: Any, start: Start) -> None:
    write(start(FakeOpenAi(solve)))
    found = learnt(workplace)
    assert (found["is_listed"], found["context_limit"]) == (True, 4096)
    assert (found["counts_tokens"], found["num_generated_tokens"]) == (True, 9)
    assert found["num_pieces"] > 1
    choice = {"message": {"content": "Answer: bab"}, "finish_reason": "stop"}
    whole = json.dumps({"model": "m-2026", "choices": [choice]})
    write(start(FakeOpenAi(lambda *_: Reply(body=whole))), model="n")
    found = learnt(workplace)
    assert (found["is_listed"], found["num_pieces"]) == (False, 1)
    assert (found["counts_tokens"], found["reply_models"]) == (False, ["m-2026"])
    assert found["takes_stop_strings"] is False
    shown = workplace.run("endpoints", "check", "far").stdout
    for line in ("listed      no", "an estimate", "came whole", "calls it    m-2026"):
        assert line in shown


@pytest.mark.parametrize("text", ["bab", ""])
def test_an_answer_too_short_to_be_cut_tells_nothing_of_stop_strings(
    workplace: Any, start: Start, text: str
) -> None:
    server = start(FakeOpenAi(lambda *_: Reply(texts=(text,))))
    write(server)
    assert learnt(workplace)["takes_stop_strings"] is None
    assert len(server.requests) == 1


def test_another_answer_without_the_word_tells_nothing_of_stop_strings(
    workplace: Any, start: Start
) -> None:
    texts = {1: "I think that it is bab", 2: "Or perhaps gik"}
    server = start(FakeOpenAi(lambda _request, number: Reply(texts=(texts[number],))))
    write(server)
    assert learnt(workplace)["takes_stop_strings"] is None


def test_a_model_that_only_reasons_within_the_limit_is_shown_so(
    workplace: Any, start: Start
) -> None:
    thinking = Reply(texts=(), reasoning="First I read", finish_reason="length")
    write(start(FakeOpenAi(lambda *_: thinking)))
    result = workplace.run("endpoints", "check", "far")
    assert "its reasoning begins 'First I read'" in result.stdout


def test_a_request_that_is_refused_exits_2_and_one_without_an_answer_3(
    workplace: Any, start: Start
) -> None:
    write(start(picky_server("other-model")), model="n")
    result = workplace.run("endpoints", "check", "far")
    assert result.exit_code == 2
    assert "far: failed" in result.stdout
    assert "it lists: m" in result.stderr
    page = "<html><head><style>p {}</style><title>Not found</title></head></html>"
    write(start(FakeOpenAi(lambda *_: Reply(status=503, body=page))))
    result = workplace.run("endpoints", "check", "far", "--json")
    assert result.exit_code == 3
    told = json.loads(result.stdout)
    assert (told["status"], told["exit_status"], told["learnt"]) == ("failed", 3, None)
    assert told["error"].endswith("HTTP_503: it answers with a web page: Not found")


def test_a_key_is_in_nothing_that_a_check_prints(
    workplace: Any, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-far-1234")
    said = Reply(texts=("The key ", "is sk-far-1234 ", "I think"))
    write(start(FakeOpenAi(lambda *_: said)), 'api_key_env = "FAR_KEY"\n')
    for options in ((), ("--json",)):
        result = workplace.run("endpoints", "check", "far", *options)
        assert result.exit_code == 0, result.stderr
        assert "sk-far" not in result.output


def test_a_server_of_ours_is_asked_too(workplace: Any) -> None:
    result = workplace.run("endpoints", "check", "rnn")
    assert result.exit_code == 0
    assert "answer      '<answer>" in result.stdout
    result = workplace.run("endpoints", "check", "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [one["endpoint"] for one in told] == ["rnn", "rnn-rag"]
    assert all(one["learnt"]["counts_tokens"] for one in told)


EVAL = ("eval", "--endpoint", "far", "--task", "assoc_recall", "--size", "4", "--samples", "4")


def test_what_requests_say_is_stored_and_stays_for_the_rest_of_a_run(
    workplace: Any, start: Start
) -> None:
    server = start(FakeOpenAi(solve))
    write(server, "temperature = 0.2\ntop_p = 0.9\n")
    given = ("--request", "temperature=0.5", "--request", "extra_body.top_k=20")
    result = workplace.run(*EVAL, *given)
    assert result.exit_code == 0, result.stderr
    assert {(one["temperature"], one["top_p"], one["top_k"]) for one in server.requests} == {
        (0.5, 0.9, 20)
    }
    folder = workplace.only_run()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["options"]["request"] == {"temperature": 0.5, "extra_body": {"top_k": 20}}
    assert manifest["endpoints"][0]["request"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "extra_body": {"top_k": 20},
    }
    assert workplace.run("eval", "--resume", folder.name).exit_code == 0
    assert workplace.run("eval", "--resume", folder.name, *given).exit_code == 0
    result = workplace.run("eval", "--resume", folder.name, "--request", "temperature=0.7")
    assert result.exit_code == 2
    assert "--request: the run has extra_body.top_k=20,temperature=0.5" in result.stderr
    samples = folder / "samples.jsonl"
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:2]))
    write(server, "temperature = 0.2\ntop_p = 0.8\n")
    result = workplace.run("eval", "--resume", folder.name)
    assert result.exit_code == 2
    assert "endpoint far, request: " in result.stderr


def test_a_request_option_that_an_endpoint_cannot_be_told_exits_2(workplace: Any) -> None:
    result = workplace.run(*EVAL[:2], "rnn", *EVAL[3:], "--request", "extra_body.top_k=20")
    assert result.exit_code == 2
    assert "endpoint 'rnn': extra_body needs an address that begins with http" in result.stderr


def test_a_stored_address_that_its_task_cannot_have_is_named_by_its_line(workplace: Any) -> None:
    assert workplace.run(*EVAL[:2], "rnn", *EVAL[3:]).exit_code == 0
    path = workplace.only_run() / "samples.jsonl"
    path.write_text(path.read_text().replace("alphabet=128", "alphabet=0"))
    # A report goes on with the other runs.
    for command, status in {"report": 4, "rescore": 2, "export --jsonl x.jsonl": 2}.items():
        result = workplace.run(*command.split(), str(workplace.only_run()))
        assert result.exit_code == status, result.output
        assert "samples.jsonl" in result.stderr
        assert "alphabet 0 is out of range" in result.stderr
