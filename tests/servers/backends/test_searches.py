"""The search channel inside the engine: parking, inserting, limits, and what is recorded."""

import copy
import queue
import threading
from collections import Counter
from dataclasses import replace

import pytest
from harnessapi.values import FinishReason, Mode, Outcome, Part

from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import RetrieverUnavailableError, SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec
from harness_servers.errors import UnavailableError
from harness_servers.generation import Retrieval, RetrievalStep, Sampling, Stopping
from harness_servers.sequences.search_worker import SearchWorker

PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"
LOOK_UP = {"<regex>": r"<search> fem (\S+) </search> <answer> gik <eos>"}


def ask(drive, model, codec, prompt=PROMPT, **how):
    driver = drive(model, codec)
    received = driver.ask(prompt, **how)
    driver.run()
    return received


def test_a_search_inserts_what_it_found_and_writing_goes_on(drive, scripted, codec, regex) -> None:
    received = ask(drive, scripted(LOOK_UP), codec, retrieval=regex)
    assert received.text == r" <search> fem (\S+) </search> gik <answer> gik"
    [step] = received.of(RetrievalStep)
    assert (step.query, step.outcome, step.inserted_text) == (r"fem (\S+)", Outcome.FOUND, "gik")
    assert PROMPT[step.start : step.end] == "gik"
    end = received.finished
    assert (end.num_generated_tokens, end.num_inserted_tokens, end.num_searches) == (7, 1, 1)
    assert end.retrieval_ns == step.elapsed_ns


def test_every_piece_travels_on_its_channel_in_order(drive, scripted, codec, regex) -> None:
    received = ask(drive, scripted(LOOK_UP), codec, retrieval=regex)
    pieces = []
    for delta in received.deltas:
        if pieces and pieces[-1][0] is delta.part:
            pieces[-1] = (delta.part, pieces[-1][1] + delta.text)
        else:
            pieces.append((delta.part, delta.text))
    assert pieces == [
        (Part.QUERY, r" <search> fem (\S+) </search>"),
        (Part.INSERTED, " gik"),
        (Part.ANSWER, " <answer> gik"),
    ]


def test_text_with_insertions_is_still_the_text_of_all_ids(drive, scripted, codec, regex) -> None:
    received = ask(drive, scripted(LOOK_UP), codec, retrieval=regex)
    ids = codec.encode(PROMPT).ids + tuple(received.tokens[:-1])
    assert PROMPT + received.text == codec.decode(ids)


def test_the_models_own_writing_is_searched_and_the_open_query_is_not(
    drive, scripted, codec, regex
) -> None:
    model = scripted({"<regex>": r"hob dak <search> hob (\S+) </search> <eos>"})
    received = ask(drive, model, codec, retrieval=regex)
    assert received.of(RetrievalStep)[0].inserted_text == "dak"
    model = scripted({"<regex>": r"<search> hob (\S+) </search> <eos>"})
    received = ask(drive, model, codec, retrieval=regex)
    assert received.of(RetrievalStep)[0].outcome is Outcome.NOT_FOUND
    assert received.text == r" <search> hob (\S+) </search> FAILED"


def test_a_dense_search_inserts_the_passage(drive, scripted, codec) -> None:
    model = scripted({"<dense>": "<search> fem </search> <answer> gik <eos>"})
    prompt = PROMPT.replace("<regex>", "<dense>")
    received = ask(drive, model, codec, prompt, retrieval=Retrieval(mode=Mode.DENSE))
    assert received.text == " <search> fem </search> fem gik <answer> gik"


def test_a_query_that_is_no_pattern_inserts_failed_and_writing_goes_on(
    drive, scripted, codec, regex
) -> None:
    model = scripted({"<regex>": r"<search> ){ </search> <answer> no <eos>"})
    received = ask(drive, model, codec, retrieval=regex)
    assert received.text == r" <search> ){ </search> FAILED <answer> no"
    [step] = received.of(RetrievalStep)
    assert step.outcome is Outcome.INVALID_QUERY
    assert step.detail


def test_an_abbreviation_is_searched_as_its_pattern_and_the_step_shows_both(
    drive, scripted, codec
) -> None:
    model = scripted({"<regex>": "<search> fem ~ </search> <answer> gik <eos>"})
    after = Abbreviation(query="$1 ~", pattern=r"$1 (\S+)")
    how = Retrieval(mode=Mode.REGEX, abbreviations=(after,))
    received = ask(drive, model, codec, retrieval=how)
    assert received.text == " <search> fem ~ </search> gik <answer> gik"
    [step] = received.of(RetrievalStep)
    assert (step.query, step.expanded_query) == ("fem ~", r"fem (\S+)")


def test_without_retrieval_the_markers_are_tokens_like_any_other(drive, scripted, codec) -> None:
    received = ask(drive, scripted(LOOK_UP), codec)
    assert received.text == r" <search> fem (\S+) </search> <answer> gik"
    assert not received.of(RetrievalStep)


def test_searches_past_the_limit_get_the_failed_text(drive, scripted, codec, regex) -> None:
    twice = r"<search> fem (\S+) </search> dok <search> bab (\S+) </search> <eos>"
    received = ask(
        drive, scripted({"<regex>": twice}), codec, retrieval=replace(regex, max_searches=1)
    )
    assert [step.outcome for step in received.of(RetrievalStep)] == [
        Outcome.FOUND,
        Outcome.LIMIT_REACHED,
    ]
    assert received.text.endswith("</search> FAILED")
    assert received.finished.num_searches == 1


def test_another_text_is_searched_in_the_place_of_the_prompt(drive, scripted, codec, regex) -> None:
    for searched, inserted in (("fem hob ; fem <regex>", "hob"), ("", "FAILED")):
        how = replace(regex, searched_text=searched)
        received = ask(drive, scripted(LOOK_UP), codec, retrieval=how)
        assert received.of(RetrievalStep)[0].inserted_text == inserted


def test_an_insertion_is_cut_to_its_limit_and_says_so(drive, scripted, codec, regex) -> None:
    model = scripted({"<dense>": "<search> fem </search> <eos>"})
    how = Retrieval(mode=Mode.DENSE, max_inserted_tokens=1)
    received = ask(drive, model, codec, PROMPT.replace("<regex>", "<dense>"), retrieval=how)
    [step] = received.of(RetrievalStep)
    assert (step.inserted_text, step.truncated, step.num_inserted_tokens) == ("fem", True, 1)


def test_a_result_outside_the_vocabulary_is_inserted_as_unknown(
    drive, codec, tokenizer, scripted, regex
) -> None:
    class HalfWords:
        def search(self, requests):
            return [SearchResult(outcome=Outcome.FOUND, text="gi gik") for _ in requests]

        def is_costly(self, request):
            return False

        def close_contexts(self, context_ids): ...

        def shutdown(self): ...

    driver = drive(scripted(LOOK_UP), codec, retriever=HalfWords())
    received = driver.ask(PROMPT, retrieval=regex)
    driver.run()
    [step] = received.of(RetrievalStep)
    assert step.inserted_text == "<unk> gik"
    assert "'gi'" in step.detail


def test_stop_strings_do_not_fire_in_queries_and_insertions(
    drive, scripted, codec, tokenizer, regex
) -> None:
    codec = Codec(tokenizer, eos_ids=codec.eos_ids, answer_id=None, markers=codec.markers)
    model = scripted({"<regex>": r"<search> fem (\S+) </search> dok gik <eos>"})
    received = ask(drive, model, codec, retrieval=regex, stopping=Stopping(stop=("gik", "fem")))
    assert received.text == r" <search> fem (\S+) </search> gik dok "
    assert received.finished.reason is FinishReason.STOP


def test_a_search_on_the_last_token_is_not_made(drive, scripted, codec, regex) -> None:
    received = ask(
        drive, scripted(LOOK_UP), codec, retrieval=regex, stopping=Stopping(max_new_tokens=4)
    )
    assert received.finished.reason is FinishReason.LENGTH
    assert not received.of(RetrievalStep)


def test_others_go_on_writing_while_one_waits_for_its_search(
    drive, scripted, lstm, codec, regex
) -> None:
    model = scripted({**LOOK_UP, "<cot>": "dok"})
    driver = drive(model, codec)
    searching = driver.ask(PROMPT, retrieval=regex)
    writing = driver.ask("<cot>", stopping=Stopping(max_new_tokens=30))
    while not driver.searches:
        driver.step()
    for _ in range(40):
        driver.step()
    assert writing.finished.num_generated_tokens == 30
    assert not searching.of(RetrievalStep)
    driver.run()
    assert searching.text.endswith("<answer> gik")


def test_what_was_written_is_sent_before_everyone_waits(drive, scripted, codec, regex) -> None:
    driver = drive(scripted(LOOK_UP), codec)
    received = driver.ask(PROMPT, retrieval=regex)
    while not driver.searches:
        driver.step()
    assert received.text == r" <search> fem (\S+) </search>"


def test_a_result_for_a_sequence_that_was_cancelled_is_dropped(
    drive, scripted, codec, regex
) -> None:
    driver = drive(scripted(LOOK_UP), codec)
    received = driver.ask(PROMPT, retrieval=regex)
    while not driver.searches:
        driver.step()
    driver.cancel(received)
    driver.search()
    driver.run()
    assert received.finished.reason is FinishReason.CANCELLED
    assert driver.forgotten == ["test-0"]


def test_a_retriever_that_is_gone_fails_those_who_asked_it(drive, scripted, codec, regex) -> None:
    driver = drive(scripted({**LOOK_UP, "<cot>": "dok <eos>"}), codec)
    searching = driver.ask(PROMPT, retrieval=regex)
    while not driver.searches:
        driver.step()
    driver.searches.clear()
    driver.runner.take_result(0, UnavailableError("gone"))
    other = driver.ask("<cot>")
    driver.run()
    assert str(searching.error) == "gone"
    assert other.finished.reason is FinishReason.EOS


def test_with_searches_a_completion_does_not_depend_on_its_neighbours(
    drive, lstm, codec, tokenizer, regex
) -> None:
    """A random model that likes the markers: it searches at random places for random words."""
    model = copy.deepcopy(lstm)
    for word in ("<search>", "</search>", r"(\S+)"):
        model.head_bias.data[tokenizer.token_to_id(word)] += 20
    prompts = [[(37 * i + 11 * k * k) % 800 for k in range(3 + 7 * (i % 5))] for i in range(64)]
    limit = Stopping(max_new_tokens=40, ignore_eos=True)

    def complete(asked):
        driver = drive(model, codec)
        received = []
        for prompt in asked:
            sampling = Sampling(temperature=3.0, seed=sum(prompt))
            received.append(driver.ask(prompt, stopping=limit, sampling=sampling, retrieval=regex))
        driver.run()
        return received

    alone = [complete([prompt])[0] for prompt in prompts[:16]]
    seven = complete(prompts[:7])
    together = complete(prompts)
    outcomes = Counter(step.outcome for one in together for step in one.of(RetrievalStep))
    assert min(outcomes[Outcome.FOUND], outcomes[Outcome.NOT_FOUND]) > 20
    assert [one.tokens for one in seven] == [one.tokens for one in alone[:7]]
    assert [one.tokens for one in together[:16]] == [one.tokens for one in alone]


class Gated:
    """Searches "slow" only once it is let go on; notes how many requests each call had."""

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        self.sizes: list[int] = []
        self.done: list[str] = []
        self.is_searching = threading.Event()
        self.go_on = threading.Event()

    def search(self, requests):
        self.sizes.append(len(requests))
        self.is_searching.set()
        queries = [request.query for request in requests]
        if "slow" in queries:
            assert self.go_on.wait(600)
        if "gone" in queries:
            raise RetrieverUnavailableError("gone")
        if "broken" in queries:
            raise ZeroDivisionError
        if "few" in queries:
            return []
        self.done += queries
        return [SearchResult(outcome=Outcome.FOUND, text=query) for query in queries]

    def is_costly(self, request):
        return request.query == "slow" and request.context_id == "costly"

    def close_contexts(self, context_ids):
        self.done += [f"closed {context_id}" for context_id in context_ids]

    def shutdown(self): ...


class Searching:
    """A worker over a retriever, and the results it posts."""

    def __init__(self, retriever: Gated) -> None:
        self._posted: queue.SimpleQueue = queue.SimpleQueue()
        self.worker = SearchWorker(retriever, self._posted.put)

    def ask(self, sequence_id: int, query: str, context_id: str = "a") -> None:
        request = SearchRequest(context_id=context_id, text="", mode=Mode.REGEX, query=query)
        self.worker.submit(sequence_id, request)

    def answers(self, num_answers: int) -> dict[int, SearchResult | UnavailableError]:
        answered = []
        while len(answered) < num_answers:
            answered += self._posted.get(timeout=600)
        return dict(answered)


@pytest.mark.parametrize("max_requests", [1, 64])
def test_nobody_waits_for_a_slow_search_of_another(max_requests: int) -> None:
    retriever = Gated(max_requests)
    searching = Searching(retriever)
    searching.ask(0, "slow")
    assert retriever.is_searching.wait(600)
    for i in range(1, 100):
        searching.ask(i, str(i))
    answers = searching.answers(99)
    assert {i: result.text for i, result in answers.items()} == {i: str(i) for i in range(1, 100)}
    retriever.go_on.set()
    assert searching.answers(1)[0].text == "slow"
    searching.worker.close()


@pytest.mark.parametrize("max_requests", [1, 64])
def test_however_many_costly_searches_there_are_only_their_like_waits(max_requests: int) -> None:
    retriever = Gated(max_requests)
    searching = Searching(retriever)
    for i in range(100, 200):
        searching.ask(i, "slow", "costly")
    assert retriever.is_searching.wait(600)
    for i in range(100):
        searching.ask(i, str(i))
    assert searching.answers(100).keys() == set(range(100))
    retriever.go_on.set()
    assert searching.answers(100).keys() == set(range(100, 200))
    searching.worker.close()


def test_what_gathers_while_all_threads_search_is_asked_in_few_calls() -> None:
    retriever = Gated(max_requests=64)
    searching = Searching(retriever)
    for i in range(300):
        searching.ask(i, "slow")
    retriever.go_on.set()
    assert searching.answers(300).keys() == set(range(300))
    assert max(retriever.sizes) == 64
    assert sum(retriever.sizes) == 300
    searching.worker.close()


@pytest.mark.parametrize("query", ["gone", "broken", "few"])
def test_a_retriever_that_fails_is_an_error_of_those_who_asked_it(query: str) -> None:
    searching = Searching(Gated(max_requests=1))
    searching.ask(0, query)
    searching.ask(1, "fine")
    answers = searching.answers(2)
    assert isinstance(answers[0], UnavailableError)
    assert answers[1].text == "fine"
    searching.worker.close()


def test_a_search_that_breaks_is_no_error_of_those_that_were_asked_with_it() -> None:
    retriever = Gated(max_requests=64)
    searching = Searching(retriever)
    for i in range(100, 300):
        searching.ask(i, "slow")
    searching.ask(0, "broken")
    searching.ask(1, "few")
    searching.ask(2, "fine")
    retriever.go_on.set()
    answers = searching.answers(203)
    failed = [i for i, result in answers.items() if isinstance(result, UnavailableError)]
    assert sorted(failed) == [0, 1]
    searching.worker.close()


def test_a_costly_search_that_was_forgotten_before_a_thread_saw_it_is_not_made() -> None:
    retriever = Gated(max_requests=1)
    searching = Searching(retriever)
    for i in range(10):
        searching.ask(i, "slow", "others")
    assert retriever.is_searching.wait(600)
    # All threads may be searching: these wait to be looked at.
    for i in range(100, 200):
        searching.ask(i, "slow", "costly")
    searching.worker.forget("costly")
    retriever.go_on.set()
    assert searching.answers(10).keys() == set(range(10))
    searching.worker.close()
    assert sum(retriever.sizes) == 10


def test_a_context_that_is_forgotten_while_it_is_searched_is_closed_after_the_search(
    wait_until,
) -> None:
    """The search may open it again: a search service would keep it until it expires."""
    retriever = Gated(max_requests=1)
    searching = Searching(retriever)
    searching.ask(0, "slow", "left")
    assert retriever.is_searching.wait(600)
    searching.worker.forget("left")
    wait_until(lambda: retriever.done == ["closed left"])
    retriever.go_on.set()
    searching.answers(1)
    searching.worker.close()
    assert retriever.done == ["closed left", "slow", "closed left"]
