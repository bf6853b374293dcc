"""Plain language asked over gRPC and over HTTP: of one writer, what comes back is the same.

The writer works a problem out as the examples of its prompt do, and then goes on with the next. Our
server has its tokens, of three kinds of tokenizer, and runs the search channel; behind the fake of
an OpenAI server its text comes in pieces, and the client runs the channel.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from harnessapi.rpc.targets import parse_target
from harnessapi.text.chat_template import ChatTemplate
from harnessapi.values import FinishReason, Mode, ModelDescription, Part

from harness.clients.completion import Completion, CompletionRequest, TextPiece
from harness.clients.faults import RefusedError
from harness.clients.grpc_client import Client
from harness.clients.openai.openai_client import ExternalClient
from harness.endpoints.external import Api, External
from harness.fakes.fake_openai import FakeOpenAi, Reply
from harness.runs.cell import Cell
from harness.runs.judging import score
from harness.sample import Prompt, Sample, Split
from harness.scoring.exact import Verdict
from harness.steps import Answer, Found
from harness.tasks import TASKS, make_task
from harness.tasks.natural import step_text, worked_examples
from harness.tasks.prompts import make_prompt
from harness.way import Prompting, Style, Way
from harness_retrieval.local import LocalRetriever
from harness_servers.backends.backend import Backend
from harness_servers.checkpoints.codec import Codec
from harness_servers.rpc.inference_server import serve
from harness_servers.sequences.runner_options import RunnerOptions
from harness_servers.token_source import Closing as ClosedSequence
from harness_servers.token_source import Command, News, Opening, TokenChunk

NEXT_PROBLEM = "\n\n[Problem 5]\nContext: made up\nAnswer: made up\n"
END_OF_TURN = "<|im_end|>"
REPLY_BEGINS = "<|im_end|>\n<|im_start|>assistant\n"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NUM_SAMPLES = 2
SEARCH = Way.parse("search regex natural")


@dataclass(kw_only=True)
class Writer:
    """What it writes is decided by the text that it has before it, and by nothing else."""

    # The parts of its completions, by prompt; between two of them a result comes.
    parts: dict[str, list[str]] = field(default_factory=dict)

    def learn(self, prompt: Prompt, sample: Sample, way: Way) -> None:
        parts = [""]
        for step in sample.steps(way):
            if isinstance(step, Found):
                parts.append("")
            elif isinstance(step, Answer):
                parts[-1] += f"\n{step_text(step)}{NEXT_PROBLEM}"
            else:
                parts[-1] += f"{step_text(step)} "
        # Nothing stands between the end of a query and its result.
        self.parts[prompt.text] = [part.removesuffix(" ") for part in parts]

    def write_on(self, text: str) -> str:
        [prompt] = [prompt for prompt in self.parts if prompt in text]
        so_far = text.partition(prompt)[2].removeprefix(REPLY_BEGINS)
        place, written = so_far.count("</result>"), so_far.rpartition("</result> ")[2]
        return self.parts[prompt][place][len(written) :]

    def script(self, request: dict[str, Any], _number: int) -> Reply:
        """As an OpenAI server: the text up to a stop string, in pieces."""
        text = self.write_on(request["prompt"])
        for stop in request.get("stop", ()):
            text = text.partition(stop)[0]
        return Reply(texts=tuple(pieces(text)))


def pieces(text: Sequence[Any]) -> list[Any]:
    generator, cut = random.Random(len(text)), []
    while text:
        size = generator.randint(1, 5)
        cut.append(text[:size])
        text = text[size:]
    return cut


class WritingSource:
    """A TokenSource over the writer: its text in the tokens of any tokenizer."""

    def __init__(self, writer: Writer, codec: Codec) -> None:
        self._writer = writer
        self._codec = codec
        self._open: dict[int, tuple[Opening, list[int]]] = {}
        self._commands: asyncio.Queue[Command] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self, listen: Callable[[News], None]) -> None:
        self._task = asyncio.create_task(self._run(listen))

    def send(self, command: Command) -> None:
        self._commands.put_nowait(command)

    async def _run(self, listen: Callable[[News], None]) -> None:
        while True:
            command = await self._commands.get()
            if isinstance(command, ClosedSequence):
                del self._open[command.sequence_id]
                continue
            if isinstance(command, Opening):
                self._open[command.sequence_id] = command, []
            opening, ids = self._open[command.sequence_id]
            ids += command.token_ids
            for chunk in self._write(opening, ids):
                listen(News(at_ns=time.monotonic_ns(), chunks=[chunk]))
                await asyncio.sleep(0)

    def _write(self, opening: Opening, ids: list[int]) -> Iterator[TokenChunk]:
        stream = self._codec.stream(ids)
        stream.flush()
        text = self._writer.write_on(self._codec.decode(ids))
        whole = self._codec.encode_insertion(text, stream).ids
        end = next((i + 1 for i, t in enumerate(whole) if t in opening.stop_ids), len(whole))
        ids += whole[:end]
        *firsts, last = pieces(whole[:end])
        for written in firsts:
            yield TokenChunk(sequence_id=opening.sequence_id, token_ids=written)
        yield TokenChunk(sequence_id=opening.sequence_id, token_ids=last, is_paused=True)

    async def wait_failed(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


def make_codec(tokenizer, template: ChatTemplate | None = None) -> Codec:
    return Codec(
        tokenizer,
        eos_ids=frozenset({tokenizer.token_to_id(END_OF_TURN)} - {None}),
        answer_id=None,
        markers=None,
        chat_template=template,
    )


@contextlib.asynccontextmanager
async def served(
    codec: Codec, writer: Writer, address: str, api: Api | None = None
) -> AsyncIterator[Client]:
    """A client of a server of ours, whose model is the writer."""
    description = ModelDescription(
        name="writer",
        family="TRANSFORMER",
        vocabulary_size=100_000,
        max_prompt_tokens=100_000,
        markers=codec.markers,
        modes=tuple(Mode),
        styles=codec.styles,
        has_chat_template=codec.chat_template is not None,
    )
    backend = Backend(
        source=WritingSource(writer, codec),
        codec=codec,
        description=description,
        retriever=LocalRetriever(),
        options=RunnerOptions(),
    )
    stopped, ready = asyncio.Event(), asyncio.Event()
    target = parse_target(address)
    server = asyncio.create_task(
        serve(backend, target, stopped=stopped, ready=lambda _: ready.set())
    )
    await ready.wait()
    client = Client(target, api)
    try:
        await client.get_model()
        yield client
    finally:
        await client.close()
        stopped.set()
        await server


def asked(name: str, way: Way, writer: Writer) -> list[tuple[Sample, CompletionRequest]]:
    """Samples of a task as requests, which the writer can answer."""
    task = make_task(name, size=8 if name == "parity" else 4)
    examples = worked_examples(task, 0, 3)
    found = []
    for index in range(NUM_SAMPLES):
        sample = task.sample(Split.TEST, 0, index)
        prompt = make_prompt(task, sample, way, examples=examples)
        writer.learn(prompt, sample, way)
        request = CompletionRequest(
            prompt=prompt,
            mode=way.retrieval,
            max_new_tokens=20_000,
            abbreviations=task.abbreviations,
        )
        found.append((sample, request))
    return found


def facts(completion: Completion) -> Mapping[str, Any]:
    """All that does not depend on who counts tokens and who takes the time."""
    return {
        "transcript": completion.transcript,
        "searches": [untimed(step) for step in completion.searches],
        "is_truncated": completion.is_truncated,
        "finish_reason": completion.finish_reason,
        "num_searches": completion.num_searches,
    }


def untimed(step: Any) -> tuple[str, ...]:
    names = ("query", "expanded_query", "mode", "outcome", "inserted_text", "detail")
    return tuple(getattr(step, name) for name in names)


def cell_of(name: str, way: Way) -> Cell:
    return Cell(
        endpoint="m",
        task=name,
        size=make_task(name).size,
        prompting=way.prompting,
        retrieval=way.retrieval,
        style=way.style,
        max_new_tokens=1000,
    )


@pytest.mark.parametrize("name", TASKS)
async def test_every_task_is_answered_alike_over_grpc_and_http(
    tmp_path, tokenizers, language_kind: str, name: str
) -> None:
    writer = Writer()
    task = make_task(name)
    ways = task.ways(Style.NATURAL)
    requests = [(way, *pair) for way in ways for pair in asked(name, way, writer)]
    external = External(model="m", api=Api.COMPLETIONS)
    codec = make_codec(tokenizers[language_kind])
    async with (
        served(codec, writer, f"unix:{tmp_path}/s") as ours,
        FakeOpenAi(writer.script) as fake,
        contextlib.aclosing(Closing(fake, external)) as closing,
    ):
        for way, sample, request in requests:
            over_grpc = await ours.complete(request, timeout_s=600)
            over_http = await closing.client.complete(request, timeout_s=600)
            assert facts(over_grpc) == facts(over_http)
            for completion in (over_grpc, over_http):
                _, verdict = score(completion, sample.target, cell_of(name, way), task.wording)
                assert verdict is Verdict.CORRECT
            expected = codec.encode_prompt(request.prompt.text).ids
            assert over_grpc.prompt_token_ids == expected
            searched = way.prompting is Prompting.SEARCH
            assert bool(over_grpc.num_searches) == searched


class Closing:
    """A client over HTTP, to be closed."""

    def __init__(self, fake: FakeOpenAi, external: External) -> None:
        self.client = ExternalClient(fake.address, external, LocalRetriever())

    async def aclose(self) -> None:
        await self.client.close()


async def test_a_conversation_is_worded_by_the_template_and_searched_all_the_same(
    tmp_path, tokenizers
) -> None:
    writer = Writer()
    codec = make_codec(tokenizers["byte_level"], ChatTemplate(CHATML, {}))
    async with served(codec, writer, f"unix:{tmp_path}/s", Api.CHAT) as ours:
        for sample, request in asked("assoc_recall", SEARCH, writer):
            # What a model of conversation writes ends by itself.
            writer.parts[request.prompt.text][-1] = f"\nAnswer: {sample.target}{END_OF_TURN}"
            completion = await ours.complete(request, timeout_s=600)
            prompt = codec.decode(completion.prompt_token_ids)
            assert prompt == f"<|im_start|>user\n{request.prompt.text}{REPLY_BEGINS}"
            [search] = completion.searches
            assert search.inserted_text == sample.target
            assert completion.transcript[-2:] == (
                TextPiece(part=Part.INSERTED, text=request.prompt.word_result(sample.target)),
                TextPiece(part=Part.ANSWER, text=f"\nAnswer: {sample.target}"),
            )
            assert completion.finish_reason == FinishReason.EOS
            num_tokens = await ours.count_tokens(request.prompt, timeout_s=600)
            assert num_tokens == len(completion.prompt_token_ids)


async def test_worked_problems_are_turns_of_the_conversation_over_grpc_and_http(
    tmp_path, tokenizers
) -> None:
    codec = make_codec(tokenizers["byte_level"], ChatTemplate(CHATML, {}))
    writer = Writer()
    reply = f"Answer: right{END_OF_TURN}"
    async with (
        served(codec, writer, f"unix:{tmp_path}/s") as ours,
        FakeOpenAi(lambda _request, _number: Reply(texts=("Answer: ", "right"))) as fake,
        contextlib.aclosing(Closing(fake, External(model="m"))) as closing,
    ):
        for _, request in asked("assoc_recall", Way.parse("direct natural"), writer):
            writer.parts = {request.prompt.asked or "": [reply]}
            over_grpc = await ours.complete(request, timeout_s=600)
            over_http = await closing.client.complete(request, timeout_s=600)
            assert over_grpc.transcript == over_http.transcript
            messages = fake.requests[-1]["messages"]
            assert [one["role"] for one in messages] == ["user", "assistant"] * 3 + ["user"]
            turns = "".join(
                f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages
            )
            prompt = codec.decode(over_grpc.prompt_token_ids)
            assert prompt == f"{turns}<|im_start|>assistant\n"
            num_tokens = await ours.count_tokens(request.prompt, timeout_s=600)
            assert num_tokens == len(over_grpc.prompt_token_ids)


async def test_an_endpoint_says_how_a_model_with_a_template_is_asked(tmp_path, tokenizers) -> None:
    writer = Writer()
    codec = make_codec(tokenizers["byte_level"], ChatTemplate(CHATML, {}))
    [(_, request), *_] = asked("assoc_recall", SEARCH, writer)
    async with served(codec, writer, f"unix:{tmp_path}/s", Api.COMPLETIONS) as ours:
        completion = await ours.complete(request, timeout_s=600)
    assert codec.decode(completion.prompt_token_ids) == request.prompt.text


async def test_a_message_to_a_model_without_a_template_is_refused_with_what_to_do(
    tmp_path, tokenizers
) -> None:
    writer = Writer()
    [(_, request), *_] = asked("assoc_recall", SEARCH, writer)
    codec = make_codec(tokenizers["byte_level"])
    async with served(codec, writer, f"unix:{tmp_path}/s", Api.CHAT) as ours:
        for refused in (
            ours.complete(request, timeout_s=600),
            ours.count_tokens(request.prompt, timeout_s=600),
        ):
            with pytest.raises(RefusedError, match=r'no chat template.*api = "completions"'):
                await refused


async def test_a_failed_search_is_worded_too_and_the_worked_examples_are_not_searched(
    tmp_path, tokenizers
) -> None:
    writer = Writer()
    [(_, request), *_] = asked("assoc_recall", SEARCH, writer)
    example = request.prompt.text.partition("[Problem 1]\nContext: ")[2].partition("\n")[0]
    searched = (request.prompt.searched or "").split()
    key = next(word for word in example.split() if word not in searched)
    query = rf"<search> {key} (\S+) </search>"
    writer.parts[request.prompt.text] = [query, "\nAnswer: none\n\n[Problem"]
    async with served(make_codec(tokenizers["llama"]), writer, f"unix:{tmp_path}/s") as ours:
        completion = await ours.complete(request, timeout_s=600)
    assert [one.text for one in completion.transcript] == [
        query,
        " <result> FAILED </result> ",
        "\nAnswer: none\n",
    ]
