"""A perfect model's tokens through a server's completion: its searches insert the demonstration."""

import pytest
from harnessapi.values import FinishReason, Mode

from harness.sample import Split
from harness.tasks import TASKS, make_task
from harness.tasks.prompts import render
from harness.tasks.symbolic import write
from harness.way import Way
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest
from harness_servers.generation import Retrieval, RetrievalStep, Stopping
from harness_servers.sequences.transcriber import Transcriber

SEARCHED = [(name, mode) for name, task in TASKS.items() for mode in task.retrieval_modes]


@pytest.fixture
def transcriber_of(codec, make_job):
    def make(prompt: str, mode: Mode, task) -> Transcriber:
        room = task.max_completion_tokens(Way.parse(f"search {mode}"))
        job = make_job(
            prompt,
            stopping=Stopping(max_new_tokens=room),
            retrieval=Retrieval(mode=mode, max_searches=room, abbreviations=task.abbreviations),
        )
        return Transcriber(job=job, codec=codec, context_id="c", context_limit=None)

    return make


@pytest.mark.parametrize(("name", "mode"), SEARCHED)
@pytest.mark.parametrize("size", [5, 24])
def test_a_demonstration_token_by_token_inserts_itself_and_ends_in_time(
    codec, transcriber_of, name: str, mode: Mode, size: int
) -> None:
    task, retriever = make_task(name, size=size), LocalRetriever()
    for index in range(10):
        sample = task.sample(Split.TEST, 8, index)
        way = Way.parse(f"search {mode}")
        prompt, segments = render(task, sample, way), write(sample.steps(way))
        transcriber = transcriber_of(prompt, mode, task)
        consequence = None
        for segment in segments:
            ids = codec.encode(segment.text).ids
            if segment.inserted:
                assert isinstance(consequence, SearchRequest)
                [result] = retriever.search([consequence])
                assert transcriber.insert(result, 0) == list(ids)
                continue
            for token in ids:
                consequence = transcriber.write(token)
        assert consequence is FinishReason.EOS
        steps = [event for event in transcriber.outbox.take() if isinstance(event, RetrievalStep)]
        assert [step.inserted_text for step in steps] == [s.text for s in segments if s.inserted]
        # Abbreviations stand for patterns: a dense search has none.
        is_expanded = mode is Mode.REGEX and bool(task.abbreviations)
        assert all(bool(step.expanded_query) == is_expanded for step in steps)
        retriever.close_contexts(["c"])
