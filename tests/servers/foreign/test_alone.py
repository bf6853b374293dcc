"""Whatever the text of one sequence makes raise ends that sequence, with an error, and no other."""

import asyncio
import contextlib

import pytest
from harnessapi.rpc.targets import parse_target
from harnessapi.text.text_stream import TextStream
from harnessapi.values import FinishReason, Mode

from harness.clients.completion import CompletionRequest
from harness.clients.faults import AttemptError
from harness.clients.grpc_client import Client
from harness.sample import Prompt
from harness_retrieval.local import LocalRetriever
from harness_servers.backends.in_process import backend_in_process
from harness_servers.checkpoints.codec import Codec
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import FailedError
from harness_servers.generation import Retrieval, Stopping
from harness_servers.rpc.inference_server import serve

SCRIPTS = {
    "<regex>": r"<search> fem (\S+) </search> <answer> gik <eos>",
    "<direct>": "hob hob hob hob hob hob <answer> bab <eos>",
}
REGEX = Retrieval(mode=Mode.REGEX)
ILL = "bab dok ; fem gik ; fem mak"


class Broken(TextStream):
    """Raises where the script says so."""

    at = ""
    num_read = 0

    def read_one(self, token) -> str:
        return self.read([token])

    def read(self, ids) -> str:
        self.num_read += len(ids)
        if self.at == "read" and self.num_read > 3:
            raise ValueError("invalid prefix")
        return super().read(ids)

    def flush(self) -> str:
        if self.at == "flush":
            raise RuntimeError("no end")
        return super().flush()


class SometimesBroken(Codec):
    """Streams of prompts with the word `mak` raise; `at`: where."""

    at = "read"
    ill: int | None = None

    def stream(self, prompt_ids) -> TextStream:
        if self.ill not in prompt_ids:
            return super().stream(prompt_ids)
        if self.at == "begin":
            raise KeyError("no beginning")
        stream = Broken(self._texts, prompt_ids)
        stream.at = self.at
        return stream

    def encode_insertion(self, text, stream):
        if self.at == "insert" and isinstance(stream, Broken):
            raise ZeroDivisionError(text)
        return super().encode_insertion(text, stream)


@pytest.fixture
def broken(tokenizer, codec) -> SometimesBroken:
    made = SometimesBroken(
        tokenizer, eos_ids=codec.eos_ids, answer_id=codec.answer_id, markers=codec.markers
    )
    made.ill = tokenizer.token_to_id("mak")
    return made


@pytest.mark.parametrize("at", ["begin", "read", "flush", "insert"])
@pytest.mark.parametrize("kind", ["<regex>", "<direct>"])
@pytest.mark.parametrize("stop", [(), ("kap",)])
def test_one_sequence_fails_alone(drive, scripted, broken, at: str, kind: str, stop) -> None:
    broken.at = at
    retrieval = REGEX if kind == "<regex>" else None
    driver = drive(scripted(SCRIPTS), broken)
    asked = ["bab dok ; fem gik ; fem", ILL, "bab dok ; fem gik ; fem"]
    received = [
        driver.ask(f"{one} {kind}", retrieval=retrieval, stopping=Stopping(stop=stop))
        for one in asked
    ]
    driver.run()
    first, ill, last = received
    assert first.tokens == last.tokens != []
    assert first.finished.reason is last.finished.reason is FinishReason.EOS
    if at == "insert" and retrieval is None:
        assert ill.error is None
        return
    assert isinstance(ill.error, FailedError)
    assert not driver.engine.scheduler.running
    # Its slot is free, and the engine as good as new.
    again = driver.ask(f"{asked[0]} {kind}", retrieval=retrieval)
    driver.run()
    assert again.tokens == first.tokens


async def test_the_client_of_the_failed_one_is_told_and_the_server_stays_healthy(
    tmp_path, scripted, broken, checkpoint_of
) -> None:
    checkpoint = checkpoint_of(scripted(SCRIPTS))
    object.__setattr__(checkpoint, "codec", broken)
    backend = backend_in_process(
        checkpoint,
        retriever=LocalRetriever(),
        options=EngineOptions(),
        max_prompt_tokens=1000,
        name="broken",
    )
    target = parse_target(f"unix:{tmp_path}/s")
    stopped, ready = asyncio.Event(), asyncio.Event()
    server = asyncio.create_task(
        serve(backend, target, stopped=stopped, ready=lambda _: ready.set())
    )
    await ready.wait()
    async with contextlib.aclosing(Closing(Client(target))) as closing:
        client = closing.client
        requests = [
            CompletionRequest(
                prompt=Prompt(text=f"{text} <regex>"), mode=Mode.REGEX, max_new_tokens=50
            )
            for text in ("fem gik ; fem", ILL, "fem gik ; fem")
        ]
        answers = await asyncio.gather(
            *(client.complete(one, timeout_s=600) for one in requests), return_exceptions=True
        )
        assert await client.is_serving()
    stopped.set()
    assert await server
    first, ill, last = answers
    assert isinstance(ill, AttemptError)
    assert ill.code == "INTERNAL"
    assert "the completion failed: ValueError('invalid prefix')" in ill.detail
    assert first.transcript == last.transcript


class Closing:
    """A client, to be closed."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def aclose(self) -> None:
        await self.client.close()
