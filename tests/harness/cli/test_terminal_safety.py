"""What a server says of itself never paints the terminal, and --json is JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import InputError, printable
from harness.fakes.fake_openai import FakeOpenAi, Reply, solve
from harness.runs.results import finite

PAINT = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
Start = Callable[[FakeOpenAi], FakeOpenAi]


def table(address: str) -> str:
    return f'[far]\naddress = "{address}"\nmodel = "m"\nfamily = {json.dumps(PAINT)}\n'


def assert_plain(result: Any) -> None:
    shown = result.stdout + result.stderr
    assert not any(mark in shown for mark in ("\x1b", "\x07", "\x9b", "\u202e")), ascii(shown)


def test_a_family_and_a_refusal_are_shown_and_not_obeyed(workplace: Any, start: Start) -> None:
    server = start(FakeOpenAi(solve))
    Path("endpoints.toml").write_text(table(server.address))
    asked = ("eval", "--endpoint", "far", "--task", "assoc_recall", "--samples", "2")
    for arguments in (asked, ("report", "--json"), ("report",), ("endpoints", "check")):
        runs = [str(workplace.only_run())] if arguments[0] == "report" else []
        result = workplace.run(*arguments, *runs)
        assert result.exit_code == 0, result.stderr
        assert_plain(result)
    assert "\\x1b[2J" in workplace.run("report", str(workplace.only_run())).stdout
    server.script = lambda *_: Reply(status=404, body=json.dumps({"error": {"message": PAINT}}))
    result = workplace.run(*asked)
    assert result.exit_code == 2
    assert "\\x1b[2J" in result.stderr
    assert_plain(result)


def test_json_has_what_was_taken_and_said(workplace: Any, start: Start) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        good = solve(request, number)
        event = {
            "model": "m-2026",
            "choices": [{"delta": {"content": "".join(t or "" for t in good.texts)}}],
        }
        last = {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 9,
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
        }
        lines = (f"data: {json.dumps(one)}\n\n".encode() for one in (event, last))
        return Reply(stream=[*lines, b"data: [DONE]\n\n"])

    server = start(FakeOpenAi(script))
    Path("endpoints.toml").write_text(table(server.address))
    asked = ("eval", "--endpoint", "far", "--task", "assoc_recall", "--samples", "3", "--json")
    result = workplace.run(*asked)
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert (row["prompt_tokens_total"], row["generated_tokens_total"]) == (3000, 27)
    assert (row["reasoning_tokens_total"], row["reply_models"]) == (12, ["m-2026"])
    summary = json.loads((workplace.only_run() / "summary.json").read_text())
    assert (summary["prompt_tokens_total"], summary["generated_tokens_total"]) == (3000, 27)


def test_an_error_is_printable_whoever_said_it() -> None:
    assert str(InputError(f"no: {PAINT}\n\tlines stay")) == (
        "no: \\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e\n\tlines stay"
    )
    assert printable("é \u2028 \U0001f600") == "é \u2028 \U0001f600"


def test_no_row_has_a_number_that_json_has_not() -> None:
    row = {"a": float("inf"), "b": [float("nan"), 1.5], "c": {"d": (-float("inf"),)}, "e": "x"}
    assert finite(row) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}, "e": "x"}
