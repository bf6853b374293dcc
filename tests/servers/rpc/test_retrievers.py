"""The engine over the retrieval service writes what it writes with the searcher in process."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harnessapi.rpc.targets import Target, parse_target
from harnessapi.values import Mode

from harness_retrieval.local import LocalRetriever
from harness_retrieval.remote import RemoteRetriever
from harness_retrieval.service import serve
from harness_servers.generation import Retrieval, RetrievalStep

PROMPT = "assoc_recall bab dok ; fem gik ; hob dak ; fem"
SCRIPTS = {
    "<regex>": r"<search> fem (\S+) </search> hob <search> hob (\S+) </search> <search> ){ "
    r"</search> <answer> gik <eos>",
    "<dense>": "<search> fem </search> <search> hob </search> <answer> gik <eos>",
}


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[RemoteRetriever]:
    address = f"unix:{tmp_path}/s"
    loop = asyncio.new_event_loop()
    stopped, ready = asyncio.Event(), threading.Event()

    def say_ready(_address: Target) -> None:
        ready.set()

    def run() -> None:
        work = serve(parse_target(address), stopped=stopped, ready=say_ready)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(work)

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(600)
    retriever = RemoteRetriever(address)
    yield retriever
    retriever.shutdown()
    loop.call_soon_threadsafe(stopped.set)
    thread.join(600)


def test_a_remote_retriever_gives_the_same_completion(drive, scripted, codec, remote) -> None:
    written = []
    for retriever in (LocalRetriever(), remote):
        driver = drive(scripted(SCRIPTS), codec, retriever=retriever)
        received = [
            driver.ask(f"{PROMPT} <{mode}>", retrieval=Retrieval(mode=mode)) for mode in Mode
        ]
        driver.run()
        steps = [
            (step.query, step.outcome, step.inserted_text, step.start, step.end, step.score)
            for one in received
            for step in one.of(RetrievalStep)
        ]
        written.append(([one.tokens for one in received], steps))
    assert written[0] == written[1]
    assert len(written[0][1]) == 5
