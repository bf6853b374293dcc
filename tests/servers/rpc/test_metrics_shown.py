"""What a server and the search service tell Prometheus, read over HTTP after real calls."""

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.observing.exposition import exposed
from harnessapi.observing.observed import Observing
from harnessapi.observing.tallies import Counter, Histogram, Metrics
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.rpc.targets import Target, parse_target
from prometheus_client.parser import text_string_to_metric_families

from harness_retrieval.command import retrieval_command
from harness_retrieval.local import LocalRetriever
from harness_retrieval.remote import RemoteRetriever
from harness_retrieval.service import serve as serve_search
from harness_retrieval.types import Mode, SearchRequest
from harness_servers.backends.in_process import backend_in_process
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.rpc.inference_server import serve

DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana-dashboard.json"
SCRIPTS = {"<regex>": r"<search> fem (\S+) </search> <answer> gik <eos>"}
PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"


class Scraped:
    """The samples of one reading, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {one.name: one for one in text_string_to_metric_families(text)}
        self.values = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }
        # Those that every histogram has, though nothing was seen yet.
        self.names = {name for name, _ in self.values} | {
            f"{one.name}_bucket" for one in self.families.values() if one.type == "histogram"
        }

    def get(self, name: str, **labels: str) -> float:
        return self.values[name, tuple(sorted(labels.items()))]


async def scrape(target: Target) -> Scraped:
    def read() -> str:
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=600) as answer:
            return answer.read().decode()

    return Scraped(await asyncio.to_thread(read))


@asynccontextmanager
async def running(work: Callable[..., object]) -> AsyncIterator[None]:
    """`work(stopped=, ready=)` is a server."""
    stopped, is_ready = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(work(stopped=stopped, ready=lambda _: is_ready.set()))
    await asyncio.wait(
        {task, asyncio.ensure_future(is_ready.wait())}, return_when="FIRST_COMPLETED"
    )
    try:
        yield
    finally:
        stopped.set()
        await task


@pytest.fixture
def backend(scripted_checkpoint):
    return backend_in_process(
        scripted_checkpoint,
        retriever=LocalRetriever(),
        options=EngineOptions(num_slots=4, tells_counts=True),
        max_prompt_tokens=1000,
        name="scripted",
    )


@pytest.fixture
def place(free_port) -> Target:
    return parse_target(f"127.0.0.1:{free_port()}")


@pytest.fixture
def scripted_checkpoint(checkpoint_of, scripted):
    return checkpoint_of(scripted(SCRIPTS))


async def test_a_completion_with_a_search_is_counted_whole(
    backend, place: Target, tmp_path: Path
) -> None:
    metrics = Metrics()
    address = f"unix:{tmp_path}/s"
    with exposed(metrics, place):
        async with running(
            lambda **told: serve(
                backend, parse_target(address), observing=Observing(metrics=metrics), **told
            )
        ):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = inference_pb2_grpc.InferenceServiceStub(channel)
                mode = retrieval_pb2.RETRIEVAL_MODE_REGEX
                asked = pb.GenerateRequest(text=PROMPT, retrieval=pb.RetrievalOptions(mode=mode))
                events = [event async for event in stub.Generate(asked)]
                with pytest.raises(grpc.aio.AioRpcError):
                    await stub.Tokenize(pb.TokenizeRequest(text="nobody knows this"))
                with pytest.raises(grpc.aio.AioRpcError):
                    await channel.unary_unary("/what/ever")(b"")
            read = await scrape(place)
    finished = events[-1].finished
    assert read.get("harness_requests_total", method="Generate", code="OK") == 1
    assert read.get("harness_requests_total", method="Tokenize", code="INVALID_ARGUMENT") == 1
    assert read.get("harness_request_seconds_count", method="Generate") == 1
    assert "/what/ever" not in str(read.values)
    for kind, number in (
        ("prompt", finished.num_prompt_tokens),
        ("generated", finished.num_generated_tokens),
        ("inserted", finished.num_inserted_tokens),
        ("cached", events[0].started.num_cached_tokens),
    ):
        assert read.get("harness_tokens_total", kind=kind) == number
    assert read.get("harness_completions_total", reason="eos") == 1
    assert read.get("harness_searches_total", mode="regex", outcome="found") == 1
    assert read.get("harness_search_seconds_count", mode="regex") == 1
    assert read.get("harness_queue_seconds_count") == 1
    assert read.get("harness_time_to_first_token_seconds_count") == 1
    told = read.get("harness_token_interval_seconds_count")
    assert 0 < told < finished.num_generated_tokens
    assert read.get("harness_slots") == 4
    assert read.get("harness_slots_in_use") == read.get("harness_queued") == 0
    assert read.get("harness_engine_steps_total") >= finished.num_generated_tokens
    assert read.get("harness_state_bytes", kind="slots") > 0
    assert read.get("harness_state_bytes", kind="prefix_cache") > 0


async def test_searches_are_counted_by_the_service_and_the_dashboard_names_what_is_shown(
    backend, place: Target, tmp_path: Path
) -> None:
    metrics = Metrics()
    address = f"unix:{tmp_path}/s"
    observing = Observing(metrics=metrics)

    def search() -> None:
        retriever = RemoteRetriever(address)
        for text, query in (("a b", "a"), ("a b", "c"), ("a b", "(")):
            asked = SearchRequest(context_id="x", text=text, mode=Mode.REGEX, query=query)
            retriever.search([asked])
        dense = SearchRequest(context_id="x", text="a b", mode=Mode.DENSE, query="a")
        retriever.search([dense])
        retriever.shutdown()

    with exposed(metrics, place):
        async with running(
            lambda **told: serve_search(parse_target(address), observing=observing, **told)
        ):
            await asyncio.to_thread(search)
            read = await scrape(place)
            async with running(
                lambda **told: serve(
                    backend, parse_target(f"unix:{tmp_path}/m"), observing=observing, **told
                )
            ):
                everything = await scrape(place)
    for outcome in ("found", "not_found"):
        assert read.get("harness_searches_total", mode="regex", outcome=outcome) == 1
    assert read.get("harness_contexts") == 1
    assert read.get("harness_context_bytes", kind="texts") == 3
    assert read.get("harness_context_bytes", kind="indexes") > 0
    assert read.get("harness_requests_total", method="OpenContext", code="OK") == 1
    shown = set(everything.families) | everything.names
    shown |= {f"{name}_total" for name, one in everything.families.items() if one.type == "counter"}
    named = dashboard_names()
    assert len(named) > 10
    assert named <= shown
    # And nothing is shown that nobody looks at.
    looked_at = {re.sub(r"_(bucket|total)$", "", name) for name in named}
    assert {name for name in everything.families if name.startswith("harness_")} == looked_at


def dashboard_names() -> set[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    return {name for text in expressions for name in re.findall(r"harness_[a-z_]+", text)}


def test_a_port_that_is_taken_is_named_before_anything_starts(place: Target) -> None:
    with exposed(Metrics(), place):
        result = CliRunner().invoke(
            retrieval_command, ["--listen", "127.0.0.1:0", "--metrics-port", str(place.port)]
        )
    assert result.exit_code == 2
    assert f"cannot show metrics on {place}: Address already in use" in result.stderr


async def test_tallies_are_shown_as_prometheus_reads_them(place: Target) -> None:
    metrics = Metrics()
    kinds = Counter(name="kinds", help="Of kinds.", labels=("kind",))
    times = Histogram(name="times", help="Of times.", bounds=(0.1, 1.0))
    metrics.add(Counter(name="never", help="Nothing yet."), kinds, times)
    kinds.add('of "quotes"', by=2.5)
    for value, number in ((0.1, 2), (0.5, 1), (7.0, 3)):
        times.add(value, times=number)
    with exposed(metrics, place):
        read = await scrape(place)
    assert read.get("never_total") == 0
    assert read.get("kinds_total", kind='of "quotes"') == 2.5
    counts = [read.get("times_bucket", le=bound) for bound in ("0.1", "1.0", "+Inf")]
    assert counts == [2, 3, 6]
    assert read.get("times_count") == 6
    assert read.get("times_sum") == pytest.approx(21.7)
