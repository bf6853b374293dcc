"""POST /v1/completions: what is asked over the wire, and what is made of the answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.rpc.targets import parse_target
from harnessapi.values import Mode

from harness.clients.completion import CompletionRequest
from harness.clients.grpc_client import Client
from harness.endpoints.request_options import RequestOptions
from harness.sample import Prompt

from .conftest import COMPLETION, TEXT, OpenTheFace

Events = Callable[[httpx.Response], list[Any]]


async def test_the_text_is_the_whole_completion_with_what_was_inserted(
    open_face: OpenTheFace,
) -> None:
    async with open_face() as face:
        body = (await face.complete()).json()
    [choice] = body["choices"]
    assert choice["text"] == COMPLETION
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert choice["recall"] == {
        "finish_reason": "eos",
        "num_searches": 1,
        "num_inserted_tokens": 2,
    }
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
    assert (body["object"], body["model"]) == ("text_completion", "m")
    assert body["id"].startswith("cmpl-")


async def test_every_option_goes_over_the_wire(open_face: OpenTheFace) -> None:
    recall = {
        "mode": "regex",
        "max_searches": 3,
        "max_inserted_tokens": 5,
        "top_k": 2,
        "abbreviations": [{"query": "a", "pattern": "b"}],
        "searched_text": "all",
        "result_prefix": "[",
        "result_suffix": "]",
        "failed_text": "none",
    }
    async with open_face() as face:
        answer = await face.complete(
            temperature=0.5,
            top_p=0.25,
            top_k=7,
            seed=11,
            max_tokens=9,
            stop=["x", "y"],
            recall=recall,
            user="me",
            n=1,
            best_of=1,
            presence_penalty=0,
            frequency_penalty=0.0,
            logit_bias={},
            suffix=None,
        )
        assert answer.status_code == 200, answer.text
        asked = face.asked
    assert asked == pb.GenerateRequest(
        text=TEXT,
        sampling=pb.SamplingOptions(temperature=0.5, top_p=0.25, top_k=7, seed=11),
        stopping=pb.StoppingOptions(max_new_tokens=9, stop=["x", "y"]),
        retrieval=pb.RetrievalOptions(
            mode=retrieval_pb2.RETRIEVAL_MODE_REGEX,
            max_searches=3,
            max_inserted_tokens=5,
            top_k=2,
            abbreviations=[pb.Abbreviation(query="a", pattern="b")],
            searched_text="all",
            result_prefix="[",
            result_suffix="]",
            failed_text="none",
        ),
    )


async def test_what_a_request_does_not_say_the_endpoint_does(open_face: OpenTheFace) -> None:
    options = RequestOptions(temperature=0.5, top_p=0.25, sampling_seed=3)
    async with open_face(request=options) as face:
        await face.complete()
        sampling = face.asked.sampling
    assert sampling == pb.SamplingOptions(temperature=0.5, top_p=0.25, seed=3)


async def test_without_options_decoding_is_greedy_and_searches_are_dense(
    open_face: OpenTheFace,
) -> None:
    async with open_face() as face:
        await face.complete()
        asked = face.asked
    assert asked.sampling == pb.SamplingOptions(temperature=0)
    assert not asked.stopping.HasField("max_new_tokens")
    assert asked.retrieval.mode == retrieval_pb2.RETRIEVAL_MODE_DENSE


async def test_draws_without_a_seed_differ_from_call_to_call(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        for _ in range(3):
            await face.complete(temperature=1)
        seeds = {message.sampling.seed for message in face.model.generated}
    assert len(seeds) == 3


async def test_an_endpoint_without_its_channel_makes_no_search(open_face: OpenTheFace) -> None:
    async with open_face(retrieval=False) as face:
        choice = (await face.complete()).json()["choices"][0]
        assert not face.asked.HasField("retrieval")
    assert choice["text"] == " <answer> gik"


async def test_a_request_may_close_the_channel(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        choice = (await face.complete(recall={"mode": "none"})).json()["choices"][0]
    assert choice["recall"]["num_searches"] == 0


async def test_a_limit_that_cuts_off_is_length(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        body = (await face.complete(max_tokens=2)).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("names", [{"max_tokens": 5}, {"max_completion_tokens": 5}])
async def test_the_limit_has_two_names(open_face: OpenTheFace, names: dict[str, int]) -> None:
    async with open_face() as face:
        await face.complete(**names)
        assert face.asked.stopping.max_new_tokens == 5


@pytest.mark.parametrize("stop", ["x", ["x"]])
async def test_stop_is_a_string_or_a_list(open_face: OpenTheFace, stop: Any) -> None:
    async with open_face() as face:
        await face.complete(stop=stop)
        assert list(face.asked.stopping.stop) == ["x"]


async def test_a_list_of_prompts_has_a_choice_each_in_its_place(open_face: OpenTheFace) -> None:
    others = [f"t ; bab dok ; fem gik ; <dense> {key}" for key in ("bab", "fem", "bab")]
    async with open_face(retrieval=False) as face:
        body = (await face.complete(prompt=others)).json()
    texts = [choice["text"] for choice in body["choices"]]
    assert texts == [" <answer> dok", " <answer> gik", " <answer> dok"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert body["usage"]["prompt_tokens"] == 30


@pytest.mark.parametrize(
    ("prompt", "ids"), [([1, 2, 3], [[1, 2, 3]]), ([[1], [2, 3]], [[1], [2, 3]])]
)
async def test_token_ids_are_sent_as_they_are(
    open_face: OpenTheFace, prompt: list[Any], ids: list[list[int]]
) -> None:
    async with open_face() as face:
        body = (await face.complete(prompt=prompt)).json()
        assert [list(message.token_ids.ids) for message in face.model.generated] == ids
    assert len(body["choices"]) == len(ids)


async def test_the_chunks_of_a_stream_are_the_whole_answer(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face() as face:
        streamed = events(await face.complete(stream=True))
        whole = (await face.complete()).json()["choices"][0]
    *chunks, done = streamed
    assert done is None
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    assert len(chunks) > 2
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1]["choices"][0]["recall"] == whole["recall"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_a_stream_ends_with_its_usage_where_that_is_asked_for(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face() as face:
        answer = await face.complete(stream=True, stream_options={"include_usage": True})
        *chunks, last, _ = events(answer)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
    assert all(chunk["usage"] is None for chunk in chunks)


async def test_the_choices_of_a_stream_come_mixed_and_each_is_whole(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face() as face:
        *chunks, _ = events(await face.complete(prompt=[TEXT] * 5, stream=True))
    texts = dict.fromkeys(range(5), "")
    for chunk in chunks:
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert set(texts.values()) == {COMPLETION}


async def test_echo_puts_the_prompt_before_the_completion(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        choice = (await face.complete(echo=True)).json()["choices"][0]
    assert choice["text"] == TEXT + COMPLETION


async def test_what_the_face_answers_is_what_the_client_of_the_harness_hears(
    open_face: OpenTheFace, tmp_path: Path
) -> None:
    async with open_face() as face:
        client = Client(parse_target(f"unix:{tmp_path}/model.sock"))
        request = CompletionRequest(prompt=Prompt(text=TEXT), mode=Mode.DENSE, max_new_tokens=40)
        heard = await client.complete(request)
        await client.close()
        body = (await face.complete(max_tokens=40)).json()
        own, theirs = face.model.generated
    assert own == theirs
    assert body["choices"][0]["text"] == "".join(piece.text for piece in heard.transcript)
    assert body["usage"]["completion_tokens"] == heard.num_generated_tokens
