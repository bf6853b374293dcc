"""What our transcriber does with a search is what a client finds when it searches again."""

from harnessapi.devices import CPU
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import Mode
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from harness.clients.completion import CompletionRequest, SearchCheck
from harness.clients.search_replay import check_searches
from harness.clients.transcript import Transcript
from harness.sample import Prompt
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest
from harness_servers.checkpoints.codec import Codec
from harness_servers.generation import Job, Retrieval, Sampling, Stopping
from harness_servers.rpc.wire import write_event
from harness_servers.sequences.transcriber import Transcriber

RETRIEVER = LocalRetriever(device=CPU)
PROMPT = Prompt(
    text="Find it.",
    searched="pairs ; fem bab ; dok gik ; é naïve 😀 日本語 ; of fem ",
    result_start=" <result> ",
    result_end=" </result> ",
    failed="FAILED",
    is_language=True,
)
QUERIES = (
    "fem (\\S+)",
    "nobody",
    "(",
    "",
    ".*",
    "naïve (\\S+) (\\S+)",
    "x*?",
    "<result> (\\S+)",
)
WRITTEN = st.lists(
    st.sampled_from(
        [
            *(f"<search> {query} </search>" for query in QUERIES),
            "I look it up:\n",
            "<search>",
            "</search>",
            "é 😀",
            "\n",
            " </sea",
        ]
    ),
    max_size=8,
)


def transcribed(
    codec: Codec, text: str, most: int, max_new_tokens: int
) -> tuple[Transcript, pb.Finished]:
    """The stream of a completion whose model writes just this, as a client reads it."""
    retrieval = Retrieval(
        mode=Mode.REGEX,
        max_inserted_tokens=most,
        max_searches=max_new_tokens,
        searched_text=PROMPT.searched,
        failed_text=PROMPT.failed,
        result_prefix=PROMPT.result_start,
        result_suffix=PROMPT.result_end,
    )
    job = Job(
        prompt_ids=codec.encode(PROMPT.text).ids,
        sampling=Sampling(),
        stopping=Stopping(max_new_tokens=max_new_tokens),
        retrieval=retrieval,
        arrived_ns=0,
    )
    transcriber = Transcriber(job=job, codec=codec, context_id="c", context_limit=None)
    reason = pb.FINISH_REASON_EOS
    for token in codec.encode(text).ids:
        consequence = transcriber.write(token)
        if isinstance(consequence, str):
            reason = pb.FINISH_REASON_LENGTH
            break
        if consequence is not None:
            transcriber.flush()
            found = consequence
            if isinstance(consequence, SearchRequest):
                [found] = RETRIEVER.search([consequence])
            if transcriber.insert(found, 0) is None:
                reason = pb.FINISH_REASON_LENGTH
                break
    transcriber.end()
    transcript = Transcript()
    transcript.add(pb.GenerateResponse(started=pb.Started()), 0)
    for event in transcriber.outbox.take():
        transcript.add(write_event(event, str), 0)
    return transcript, pb.Finished(reason=reason)


def checked(codec: Codec, text: str, most: int, max_new_tokens: int) -> SearchCheck:
    transcript, finished = transcribed(codec, text, most, max_new_tokens)
    transcript.add(pb.GenerateResponse(finished=finished), 0)
    request = CompletionRequest(prompt=PROMPT, mode=Mode.REGEX, max_new_tokens=max_new_tokens)

    def search(asked: SearchRequest):
        [result] = RETRIEVER.search([asked])
        return result

    assert codec.markers is not None
    return check_searches(
        transcript.completion(0), request, codec.markers, search, max_inserted_tokens=most
    )


@settings(max_examples=60)
@given(written=WRITTEN, most=st.sampled_from([1, 2, 5, 30, 64]), limit=st.sampled_from([5, 1000]))
def test_an_honest_server_agrees_in_any_tokens(
    tokenizers: dict[str, Tokenizer], language_kind: str, written: list[str], most: int, limit: int
) -> None:
    codec = Codec(tokenizers[language_kind], eos_ids=frozenset(), answer_id=None, markers=None)
    check = checked(codec, "".join(written), most, limit)
    assert check.num_disagreements == 0
    assert check.num_unchecked == 0


def test_every_search_is_checked(tokenizers: dict[str, Tokenizer], language_kind: str) -> None:
    codec = Codec(tokenizers[language_kind], eos_ids=frozenset(), answer_id=None, markers=None)
    text = "".join(f"<search> {query} </search>\n" for query in QUERIES)
    assert checked(codec, text, 64, 1000).num_checked == len(QUERIES)
