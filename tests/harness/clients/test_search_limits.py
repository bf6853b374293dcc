"""A search that is to find nothing fails on every client, and another text is searched on each."""

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import Mode, Outcome

from harness.clients.completion import CompletionRequest
from harness.clients.grpc_client import plain_request
from harness.clients.openai.dialogue import Dialogue
from harness.endpoints.external import Api
from harness.sample import Prompt
from harness_retrieval.types import SearchRequest, SearchResult

PROMPT = Prompt(text="bab dok ; bab dok ; <regex> bab", searched="bab fem ; <regex> bab")
QUERY = r" <search> bab (\S+) </search>"


def request(max_searches: int | None) -> CompletionRequest:
    return CompletionRequest(
        prompt=PROMPT, mode=Mode.REGEX, max_new_tokens=40, max_searches=max_searches
    )


def test_a_limit_of_no_searches_goes_over_the_wire_and_so_does_the_searched_text() -> None:
    told: pb.RetrievalOptions = plain_request(request(0), is_chat=False).retrieval
    assert told.HasField("max_searches")
    assert (told.max_searches, told.searched_text) == (0, PROMPT.searched)
    # By default the limit of tokens is the one that counts.
    assert plain_request(request(None), is_chat=False).retrieval.max_searches == 40


def found(max_searches: int | None) -> SearchRequest | SearchResult | None:
    dialogue = Dialogue(request(max_searches), Api.COMPLETIONS, lambda text: text)
    dialogue.begin_turn()
    return dialogue.feed(QUERY)


def test_the_client_that_searches_itself_keeps_both() -> None:
    searching = found(None)
    assert isinstance(searching, SearchRequest)
    assert searching.text == PROMPT.searched
    failed = found(0)
    assert isinstance(failed, SearchResult)
    assert failed.outcome is Outcome.LIMIT_REACHED
