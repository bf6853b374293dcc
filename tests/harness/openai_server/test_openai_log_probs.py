"""Log-probabilities of what was written and of what was given, as the two APIs have them."""

from collections.abc import Callable
from typing import Any

import httpx
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import Part

from harness.clients.scored_token import ScoredToken, TopLogProb
from harness.openai_server.choices import Span
from harness.openai_server.log_prob_lists import completion_log_probs

from .conftest import COMPLETION, TEXT, OpenTheFace

Events = Callable[[httpx.Response], list[Any]]
# What the fake's model wrote itself: nothing of what was inserted.
WRITTEN = ["<search>", "fem", "</search>", "<answer>", "gik", "<eos>"]


async def test_each_token_that_the_model_wrote_has_an_entry(open_face: OpenTheFace) -> None:
    async with open_face(max_top_log_probs=5) as face:
        choice = (await face.complete(logprobs=2)).json()["choices"][0]
        assert face.asked.top_log_probs == 2
    found = choice["logprobs"]
    assert found["tokens"] == WRITTEN
    assert found["token_logprobs"] == [-len(token) / 8 for token in WRITTEN]
    tops = [{"likely": -1 / 16, "likely1": -2 / 16, token: -len(token) / 8} for token in WRITTEN]
    assert found["top_logprobs"] == tops
    text = choice["text"]
    for token, start in zip(WRITTEN[:-1], found["text_offset"], strict=False):
        assert text[start:].startswith(token)


async def test_without_alternatives_the_token_stands_alone(open_face: OpenTheFace) -> None:
    async with open_face(max_top_log_probs=5) as face:
        found = (await face.complete(logprobs=0)).json()["choices"][0]["logprobs"]
        assert face.asked.HasField("top_log_probs")
    assert found["top_logprobs"] == [{token: -len(token) / 8} for token in WRITTEN]


async def test_an_echo_scores_the_prompt_and_its_first_token_has_nothing(
    open_face: OpenTheFace,
) -> None:
    words = TEXT.split()
    async with open_face(max_top_log_probs=5) as face:
        choice = (await face.complete(echo=True, logprobs=1)).json()["choices"][0]
        [scored] = face.model.scored
    assert scored == pb.ScoreRequest(continuation_text=TEXT, top_log_probs=1)
    found = choice["logprobs"]
    assert choice["text"] == TEXT + COMPLETION
    assert found["tokens"] == words + WRITTEN
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert found["token_logprobs"][1 : len(words)] == [-len(word) / 8 for word in words[1:]]
    for token, start in zip(found["tokens"][:-1], found["text_offset"], strict=False):
        assert choice["text"][start:].startswith(token)


async def test_an_echo_of_no_further_token_asks_for_a_score_alone(open_face: OpenTheFace) -> None:
    async with open_face(max_top_log_probs=5) as face:
        answer = await face.complete(prompt=[[1, 2], [3]], echo=True, logprobs=1, max_tokens=0)
        body = answer.json()
        assert face.model.num_calls == 0
        assert [list(one.continuation_ids.ids) for one in face.model.scored] == [[1, 2], [3]]
    assert [choice["text"] for choice in body["choices"]] == ["w1 w2", "w3"]
    assert [choice["finish_reason"] for choice in body["choices"]] == ["length", "length"]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}


async def test_a_stream_has_the_same_log_probabilities(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face(max_top_log_probs=5) as face:
        fields = {"logprobs": 1, "echo": True, "max_tokens": 40}
        *chunks, _ = events(await face.complete(stream=True, **fields))
        whole = (await face.complete(**fields)).json()["choices"][0]["logprobs"]
    pieces = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    joined = {name: [value for piece in pieces if piece for value in piece[name]] for name in whole}
    assert joined == whole


async def test_a_chat_has_those_of_the_answer_and_of_the_rest_apart(
    open_face: OpenTheFace,
) -> None:
    async with open_face(max_top_log_probs=5) as face:
        found = (await face.chat(logprobs=True, top_logprobs=1)).json()["choices"][0]["logprobs"]
        assert face.asked.top_log_probs == 1
    assert [entry["token"] for entry in found["reasoning_content"]] == WRITTEN[:3]
    assert found["content"][1] == {
        "token": "gik",
        "logprob": -3 / 8,
        "bytes": None,
        "top_logprobs": [{"token": "likely", "logprob": -1 / 16, "bytes": None}],
    }


async def test_a_chat_without_alternatives_has_empty_lists(open_face: OpenTheFace) -> None:
    async with open_face(max_top_log_probs=5) as face:
        found = (await face.chat(logprobs=True)).json()["choices"][0]["logprobs"]
    assert all(entry["top_logprobs"] == [] for entry in found["content"])


def test_what_json_cannot_say_is_the_least_there_is() -> None:
    token = ScoredToken(token_id=0, token="a", log_prob=float("-inf"))
    found = completion_log_probs([Span(part=Part.ANSWER, text="a", log_probs=(token,))])
    assert found["token_logprobs"] == [-9999.0]


def test_of_two_tokens_with_one_name_the_likelier_is_told() -> None:
    """Whether the token is the likeliest of all is read off by comparing with the greatest."""
    top = tuple(TopLogProb(token_id=1, token="a", log_prob=value) for value in (-0.5, -1.0))
    token = ScoredToken(token_id=0, token="a", log_prob=-1.0, top=top)
    found = completion_log_probs([Span(part=Part.ANSWER, text="a", log_probs=(token,))])
    assert found["top_logprobs"] == [{"a": -0.5}]


def test_each_token_begins_behind_the_last_or_where_its_text_would() -> None:
    tokens = [ScoredToken(token_id=0, token=name, log_prob=-1.0) for name in ("a", "a", "</s>")]
    spans = [Span(part=Part.ANSWER, text=" a a", start=3, log_probs=tuple(tokens))]
    assert completion_log_probs(spans)["text_offset"] == [4, 6, 7]
