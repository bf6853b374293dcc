import asyncio
import dataclasses
import random
from typing import Any

import pytest
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.targets import parse_target
from harnessapi.values import FinishReason, Mode, ModelDescription, Part

from harness.clients.clock import Backoff, Clock
from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import Connection
from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.clients.grpc_client import Client
from harness.clients.pace import Pace
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.clients.token_intervals import quantile
from harness.clients.transcript import Transcript
from harness.endpoints.endpoint import Endpoint
from harness.errors import HarnessError
from harness.fakes.fake_model import FakeModel, Fault, Script
from harness.sample import Prompt
from harness_retrieval.abbreviations import Abbreviation

PROMPT = "assoc_recall bab dok ; fem gik ; <dense> fem"
QUICK = Backoff(initial_s=0.01, max_s=0.02)


def request(mode: Mode | None = Mode.DENSE, limit: int = 20) -> CompletionRequest:
    return CompletionRequest(prompt=Prompt(text=PROMPT), mode=mode, max_new_tokens=limit)


class Time:
    """Passes while somebody sleeps, and not otherwise."""

    now_s = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(now_s=lambda: self.now_s, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


async def ask(
    client: Any, deadline_s: float = 600, backoff: Backoff = QUICK, clock: Clock | None = None
) -> Completion | AttemptError:
    connection = Connection(
        endpoint=Endpoint(name="fake", address="unix:/fake"),
        replicas=Replicas([Replica(client, pace=Pace(clock=clock))]),
        model=await client.get_model(),
        server=None,
        backoff=backoff,
    )
    try:
        return await connection.complete(
            request(), deadline_s=deadline_s, generator=random.Random(0)
        )
    except AttemptError as error:
        return error


def faults(*first: Fault) -> Any:
    return lambda call: first[call - 1] if call <= len(first) else None


async def test_a_completion_holds_text_by_channel_and_its_searches(serve: Any) -> None:
    async with serve(FakeModel(Script())) as client:
        completion = await client.complete(request(), timeout_s=600)
    channels = [piece.part for piece in completion.transcript]
    assert channels == [Part.QUERY, Part.INSERTED, Part.ANSWER]
    assert completion.generated_text.split() == ["<search>", "fem", "</search>", "<answer>", "gik"]
    [search] = completion.searches
    assert (search.query, search.mode, search.outcome) == ("fem", "dense", "found")
    assert (search.inserted_text, search.elapsed_ms) == ("fem gik", 2.0)
    assert completion.finish_reason == FinishReason.EOS
    assert len(completion.prompt_token_ids) == len(PROMPT.split())


async def test_a_search_by_an_abbreviation_holds_both_what_was_written_and_what_it_meant(
    serve: Any,
) -> None:
    abbreviation = Abbreviation(query="$1", pattern=r"$1 (\S+)")
    asked = dataclasses.replace(request(Mode.REGEX), abbreviations=(abbreviation,))
    async with serve(FakeModel(Script())) as client:
        completion = await client.complete(asked, timeout_s=600)
        plain = await client.complete(request(Mode.REGEX), timeout_s=600)
    assert [(s.query, s.expanded_query) for s in completion.searches] == [("fem", r"fem (\S+)")]
    assert [(s.query, s.expanded_query) for s in plain.searches] == [("fem", "")]


async def test_without_a_mode_no_search_is_asked_for(serve: Any) -> None:
    async with serve(FakeModel(Script())) as client:
        completion = await client.complete(request(mode=None), timeout_s=600)
    assert (completion.num_searches, completion.searches) == (0, ())


async def test_a_server_that_does_not_score_says_so(serve: Any) -> None:
    async with serve(FakeModel(Script())) as client:
        assert (await client.get_model()).max_top_log_probs is None
        with pytest.raises(AttemptError, match="UNIMPLEMENTED"):
            await client.score(None, "bab")


async def test_too_few_tokens_are_a_truncation(serve: Any) -> None:
    async with serve(FakeModel(Script())) as client:
        completion = await client.complete(request(limit=2), timeout_s=600)
    assert completion.is_truncated


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.EXHAUSTED, Fault.BROKEN])
async def test_a_transient_fault_is_tried_again_and_recorded(serve: Any, fault: Fault) -> None:
    model = FakeModel(Script(), faults(fault, fault))
    async with serve(model) as client:
        attempts = await ask(client)
    assert isinstance(attempts, Completion)
    assert attempts.num_attempts == model.num_calls == 3
    assert len(attempts.faults) == 2
    assert attempts.times.backoff_ms > 0


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.INTERNAL, "INTERNAL"), (Fault.REFUSED, "INVALID_ARGUMENT")]
)
async def test_a_permanent_fault_is_not_tried_again(serve: Any, fault: Fault, code: str) -> None:
    model = FakeModel(Script(), faults(fault))
    async with serve(model) as client:
        attempts = await ask(client)
    assert model.num_calls == 1
    assert isinstance(attempts, AttemptError)
    assert attempts.code == code
    assert isinstance(attempts, RefusedError) == (fault is Fault.REFUSED)


async def test_retries_end_at_the_deadline(serve: Any) -> None:
    time, growing = Time(), Backoff(initial_s=10, max_s=5000)
    async with serve(FakeModel(Script(), lambda _call: Fault.UNAVAILABLE)) as client:
        attempts = await ask(client, deadline_s=6000, backoff=growing, clock=time.clock)
    assert isinstance(attempts, TransientError)
    assert all(fault.startswith("UNAVAILABLE") for fault in attempts.faults)
    assert attempts.num_attempts == len(attempts.faults) + 1 > 3
    assert time.now_s == pytest.approx(6000)
    assert attempts.backoff_ms == pytest.approx(6_000_000)


@pytest.mark.parametrize("check_s", [0.0, 50.0])
async def test_without_time_for_another_attempt_the_last_fault_is_the_error(check_s: float) -> None:
    calls: list[float] = []
    time = Time()

    class Away(Client):
        """Unavailable; whether it is back is heard of after so long."""

        async def _attempt(self, *_: Any) -> Completion:
            calls.append(time.now_s)
            raise TransientError("UNAVAILABLE", "away")

        async def get_model(self) -> ModelDescription:
            await time.sleep(check_s)
            raise TransientError("UNAVAILABLE", "away")

    client = Away(parse_target("unix:nobody"))
    connection = Connection(
        endpoint=Endpoint(name="far", address="unix:nobody"),
        replicas=Replicas([Replica(client, pace=Pace(clock=time.clock))]),
        model=ModelDescription(name="m", family="RNN", engine="fake"),
        server=None,
        backoff=Backoff(initial_s=1, max_s=2),
    )
    with pytest.raises(AttemptError, match=r"^UNAVAILABLE: away$") as caught:
        await connection.complete(request(), deadline_s=20, generator=random.Random(0))
    await client.close()
    assert caught.value.num_attempts == len(caught.value.faults) + 1 == len(calls)
    assert max(calls) < 20
    assert (len(calls) == 1) == (check_s > 0)


async def test_a_server_that_hangs_is_left_at_the_deadline(serve: Any) -> None:
    model = FakeModel(Script(), lambda _call: Fault.HANG)
    async with serve(model) as client:
        attempts = await ask(client, deadline_s=0.2)
        assert isinstance(attempts, DeadlineError)
        assert attempts.num_attempts == 1
        async with asyncio.timeout(600):
            while model.num_running:  # the call is cancelled on the server too
                await asyncio.sleep(0.01)


async def test_a_server_that_comes_back_with_another_checkpoint_stops_everything(
    serve: Any,
) -> None:
    model = FakeModel(Script(version=1), faults(Fault.UNAVAILABLE))

    def exchange(_call: int) -> None:
        model.script = Script(version=2)

    model.on_call = exchange
    async with serve(model) as client:
        with pytest.raises(HarnessError, match="another checkpoint"):
            await ask(client)


def started() -> pb.GenerateResponse:
    return pb.GenerateResponse(started=pb.Started(num_prompt_tokens=1))


def delta(num_tokens: int, channel: pb.Channel.ValueType, text: str = "") -> pb.GenerateResponse:
    return pb.GenerateResponse(delta=pb.Delta(num_tokens=num_tokens, channel=channel, text=text))


def finished(reason: pb.FinishReason.ValueType) -> pb.GenerateResponse:
    return pb.GenerateResponse(finished=pb.Finished(reason=reason))


def test_the_first_token_is_the_first_that_the_model_wrote() -> None:
    transcript = Transcript()
    transcript.add(started(), 1)
    transcript.add(delta(0, pb.CHANNEL_REASONING), 2)
    transcript.add(delta(4, pb.CHANNEL_INSERTED, "found"), 3)
    transcript.add(delta(1, pb.CHANNEL_REASONING), 4)
    transcript.add(delta(1, pb.CHANNEL_ANSWER, "text"), 5)
    transcript.add(finished(pb.FINISH_REASON_EOS), 6)
    assert transcript.completion(7).times.ttft_ms == 4


def test_pieces_around_an_insertion_do_not_join_to_one_word() -> None:
    transcript = Transcript()
    transcript.add(started(), 1)
    transcript.add(delta(1, pb.CHANNEL_REASONING, "<ans"), 2)
    transcript.add(delta(1, pb.CHANNEL_INSERTED, "x"), 2)
    transcript.add(delta(1, pb.CHANNEL_REASONING, "wer>"), 2)
    transcript.add(finished(pb.FINISH_REASON_EOS), 3)
    assert transcript.completion(3).generated_text == "<ans wer>"


@pytest.mark.parametrize(
    "events",
    [
        [],
        [started()],
        [delta(1, pb.CHANNEL_ANSWER)],
        [started(), started()],
        [started(), finished(pb.FINISH_REASON_EOS), delta(1, pb.CHANNEL_ANSWER)],
        [started(), finished(pb.FINISH_REASON_EOS), finished(pb.FINISH_REASON_EOS)],
        [started(), finished(pb.FINISH_REASON_CANCELLED)],
    ],
)
def test_a_stream_that_is_not_whole_is_a_fault(events: list[pb.GenerateResponse]) -> None:
    def read() -> None:
        transcript = Transcript()
        for event in events:
            transcript.add(event, 0)
        transcript.completion(0)

    with pytest.raises(TransientError, match="BROKEN_STREAM"):
        read()


def test_a_completion_that_the_server_cut_off_at_the_deadline_is_none() -> None:
    transcript = Transcript()
    transcript.add(started(), 0)
    transcript.add(finished(pb.FINISH_REASON_DEADLINE), 0)
    with pytest.raises(DeadlineError):
        transcript.completion(0)


def test_token_intervals_are_of_what_the_model_wrote_alone() -> None:
    transcript = Transcript()
    transcript.add(started(), 1)
    transcript.add(delta(1, pb.CHANNEL_REASONING, "a"), 100)
    transcript.add(delta(4, pb.CHANNEL_INSERTED, "found"), 110)
    transcript.add(delta(2, pb.CHANNEL_REASONING, "b c"), 180)
    transcript.add(finished(pb.FINISH_REASON_EOS), 200)
    found = transcript.completion(200).times.token_intervals
    assert found is not None
    assert sum(found.values()) == 2
    assert quantile(found, 0.5) == pytest.approx(40, rel=0.05)


def test_a_search_has_its_place_in_the_text() -> None:
    transcript = Transcript()
    transcript.add(started(), 1)
    transcript.add(delta(1, pb.CHANNEL_QUERY, "<search> é </search>"), 2)
    step = pb.RetrievalStep(inserted_text="gik", num_inserted_tokens=1, truncated=True)
    transcript.add(pb.GenerateResponse(retrieval_step=step), 3)
    transcript.add(finished(pb.FINISH_REASON_EOS), 4)
    [found] = transcript.completion(5).searches
    assert (found.place, found.num_inserted_tokens, found.truncated) == (20, 1, True)
