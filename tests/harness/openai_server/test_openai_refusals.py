"""A request that cannot be honoured is refused with the field that is wrong, before any call."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import OpenTheFace

Error = Callable[[httpx.Response], dict[str, Any]]

UNSUPPORTED = {
    "n": 2,
    "best_of": 2,
    "suffix": "x",
    "presence_penalty": 0.5,
    "frequency_penalty": -1,
    "logit_bias": {"5": 1},
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "functions": [{}],
    "function_call": {"name": "f"},
    "response_format": {"type": "json_object"},
    "modalities": ["audio"],
    "audio": {},
    "prediction": {},
    "reasoning_effort": "low",
    "verbosity": "low",
    "web_search_options": {},
}
WRONG: list[tuple[str, Any, str]] = [
    ("model", 1, "model"),
    ("prompt", 1, "prompt"),
    ("prompt", [], "prompt"),
    ("prompt", ["a", 1], "prompt"),
    ("prompt", [[1], "a"], "prompt"),
    ("prompt", [1, [2]], "prompt"),
    ("prompt", [-1], "prompt[0]"),
    ("prompt", ["a"] * 2049, "prompt"),
    ("max_tokens", 0, "max_tokens"),
    ("max_tokens", -1, "max_tokens"),
    ("max_tokens", "9", "max_tokens"),
    ("max_tokens", 2**40, "max_tokens"),
    ("temperature", -1, "temperature"),
    ("temperature", "hot", "temperature"),
    ("top_p", 0, "top_p"),
    ("top_p", 1.5, "top_p"),
    ("top_k", -1, "top_k"),
    ("seed", -1, "seed"),
    ("seed", 0.5, "seed"),
    ("stop", 1, "stop"),
    ("stop", [1], "stop[0]"),
    ("stream", "yes", "stream"),
    ("stream_options", {"usage": True}, "stream_options.usage"),
    ("echo", 1, "echo"),
    ("logprobs", 6, "logprobs"),
    ("logprobs", True, "logprobs"),
    ("recall", {"mode": "fuzzy"}, "recall.mode"),
    ("recall", {"modes": "regex"}, "recall.modes"),
    ("temperatur", 1, "temperatur"),
]


@pytest.mark.parametrize(("name", "value"), UNSUPPORTED.items(), ids=list(UNSUPPORTED))
async def test_a_field_that_cannot_be_honoured_is_named(
    open_face: OpenTheFace, error: Error, name: str, value: Any
) -> None:
    async with open_face() as face:
        for answer in (await face.complete(**{name: value}), await face.chat(**{name: value})):
            told = error(answer)
            assert (told["status"], told["param"]) == (400, name)
            assert told["code"] == "unsupported_parameter"
            assert told["type"] == "invalid_request_error"
            assert told["message"].startswith(f"{name}: ")
        assert face.model.num_calls == 0


@pytest.mark.parametrize(
    ("name", "value", "param"), WRONG, ids=[str(one[:2])[:40] for one in WRONG]
)
async def test_a_value_that_is_wrong_is_named(
    open_face: OpenTheFace, error: Error, name: str, value: Any, param: str
) -> None:
    async with open_face(max_top_log_probs=5) as face:
        told = error(await face.complete(**{name: value}))
        assert (told["status"], told["param"]) == (400, param)
        assert told["message"].startswith(param)
        assert face.model.num_calls == 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None),
        ({"messages": ["a"]}, "messages[0]"),
        (
            {"messages": [{"role": "a", "content": "a", "tool_calls": [1]}]},
            "messages[0].tool_calls",
        ),
        ({"messages": [{"role": "", "content": "a"}]}, "messages[0].role"),
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 6}, "top_logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"prompt": "a"}, "prompt"),
        ({"echo": True}, "echo"),
    ],
)
async def test_a_conversation_that_is_wrong_is_named(
    open_face: OpenTheFace, error: Error, fields: dict[str, Any], param: str | None
) -> None:
    async with open_face(max_top_log_probs=5) as face:
        told = error(await face.chat(**fields))
        assert told["status"] == 400
        assert param is None or told["param"] == param
        assert face.model.num_calls == 0


async def test_two_limits_that_differ_are_refused(open_face: OpenTheFace, error: Error) -> None:
    async with open_face() as face:
        told = error(await face.complete(max_tokens=3, max_completion_tokens=4))
    assert told["param"] == "max_completion_tokens"


@pytest.mark.parametrize("name", ["model", "prompt"])
async def test_a_missing_field_is_named(open_face: OpenTheFace, error: Error, name: str) -> None:
    async with open_face() as face:
        told = error(await face.complete(**{name: None}))
    assert (told["status"], told["param"]) == (400, name)


@pytest.mark.parametrize("data", [b"", b"x", b"[]", b'"a"', b"{", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(
    open_face: OpenTheFace, error: Error, data: bytes
) -> None:
    async with open_face() as face:
        told = error(await face.http.post("completions", content=data))
    assert (told["status"], told["code"]) == (400, "invalid_json")


async def test_an_unknown_model_is_not_found_and_the_known_ones_are_listed(
    open_face: OpenTheFace, error: Error
) -> None:
    async with open_face() as face:
        told = error(await face.complete(model="other"))
        assert error(await face.http.get("models/other"))["status"] == 404
    assert (told["status"], told["param"], told["code"]) == (404, "model", "model_not_found")
    assert "Known: m" in told["message"]


async def test_a_search_is_refused_where_the_endpoint_has_no_channel(
    open_face: OpenTheFace, error: Error
) -> None:
    async with open_face(retrieval=False) as face:
        told = error(await face.complete(recall={"mode": "dense"}))
    assert (told["status"], told["param"]) == (400, "recall.mode")


async def test_log_probabilities_are_refused_where_the_endpoint_gives_none(
    open_face: OpenTheFace, error: Error
) -> None:
    async with open_face() as face:
        answers = [
            await face.complete(logprobs=0),
            await face.chat(logprobs=True),
            await face.complete(echo=True, max_tokens=0),
            await face.complete(echo=True, prompt=[1]),
        ]
        told = [error(answer) for answer in answers]
        assert face.model.num_calls == 0
    assert [one["param"] for one in told] == ["logprobs", "logprobs", "echo", "echo"]


async def test_other_paths_and_methods_are_told_in_the_same_words(
    open_face: OpenTheFace, error: Error
) -> None:
    async with open_face() as face:
        assert error(await face.http.get("nothing"))["status"] == 404
        assert error(await face.http.get("completions"))["status"] == 405
