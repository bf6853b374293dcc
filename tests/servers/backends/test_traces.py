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
from harness_servers.generation import Retrieval, RetrievalStep, Sampling, Stopping
from harness_servers.sequences.job import Job
from harness_servers.sequences.transcriber import Completion

SEARCHED = [(name, mode) for name, task in TASKS.items() for mode in task.retrieval_modes]


def completion_of(codec, prompt: str, mode: Mode, task) -> Completion:
    room = task.max_completion_tokens(Way.parse(f"search {mode}"))
    job = Job(
        prompt_ids=codec.encode(prompt).ids,
        sampling=Sampling(),
        stopping=Stopping(max_new_tokens=room),
        retrieval=Retrieval(mode=mode, max_searches=room, abbreviations=task.abbreviations),
        arrived_ns=0,
    )
    return Completion(job=job, codec=codec, context_id="c", context_limit=None)


@pytest.mark.parametrize(("name", "mode"), SEARCHED)
@pytest.mark.parametrize("size", [5, 24])
def test_a_demonstration_token_by_token_inserts_itself_and_ends_in_time(
    codec, name: str, mode: Mode, size: int
) -> None:
    task, retriever = make_task(name, size=size), LocalRetriever()
    for index in range(10):
        sample = task.sample(Split.TEST, 8, index)
        way = Way.parse(f"search {mode}")
        prompt, segments = render(task, sample, way), write(sample.steps(way))
        completion = completion_of(codec, prompt, mode, task)
        consequence = None
        for segment in segments:
            ids = codec.encode(segment.text).ids
            if segment.inserted:
                assert isinstance(consequence, SearchRequest)
                [result] = retriever.search([consequence])
                assert completion.insert(result, 0) == list(ids)
                continue
            for token in ids:
                consequence = completion.write(token)
        assert consequence is FinishReason.EOS
        steps = [event for event in completion.outbox.take() if isinstance(event, RetrievalStep)]
        assert [step.inserted_text for step in steps] == [s.text for s in segments if s.inserted]
        # Abbreviations stand for patterns: a dense search has none.
        is_expanded = mode is Mode.REGEX and bool(task.abbreviations)
        assert all(bool(step.expanded_query) == is_expanded for step in steps)
        retriever.close_contexts(["c"])
