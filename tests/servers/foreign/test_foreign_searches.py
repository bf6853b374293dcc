"""The search channel where markers are text: in any tokens, with other text in the same ones."""

from itertools import pairwise

import pytest
from harnessapi.values import FinishReason, Markers, Mode, Outcome, Part
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec
from harness_servers.generation import Delta, Job, Retrieval, RetrievalStep, Sampling, Stopping
from harness_servers.models.scripted import ScriptedModel
from harness_servers.sequences.transcriber import Transcriber

BEFORE, QUERY, AFTER = "a <b> < ", "<search> <q </searc (\\S+) </search>", "\n x"
REGEX = Retrieval(mode=Mode.REGEX, result_prefix=" <result> ", result_suffix=" </result> ")
FOUND = SearchResult(outcome=Outcome.FOUND, text="dok")


def job(retrieval: Retrieval | None = REGEX, **stopping) -> Job:
    return Job(
        prompt_ids=(0,),
        sampling=Sampling(),
        stopping=Stopping(**{"max_new_tokens": 1000, **stopping}),
        retrieval=retrieval,
        arrived_ns=0,
    )


def words_of(pieces: list[str]) -> Codec:
    """A tokenizer whose tokens are these pieces, joined as they are."""
    known = dict.fromkeys(["P", *pieces, " <result> dok </result> ", "_"])
    tokenizer = Tokenizer(
        models.WordLevel({piece: i for i, piece in enumerate(known)}, unk_token="_")
    )
    tokenizer.decoder = decoders.Fuse()
    return Codec(tokenizer, eos_ids=frozenset(), answer_id=None, markers=Markers())


def parts_of(transcriber: Transcriber) -> tuple[list[tuple[Part, str]], list[int]]:
    """Neighbouring text of one part joined; and the ids."""
    joined: list[tuple[Part, str]] = []
    ids: list[int] = []
    for delta in transcriber.outbox.take():
        if isinstance(delta, Delta):
            ids += delta.token_ids
            if joined and joined[-1][0] is delta.part:
                joined[-1] = (delta.part, joined[-1][1] + delta.text)
            elif delta.text:
                joined.append((delta.part, delta.text))
    return joined, ids


def transcribe(codec: Codec, retrieval: Retrieval = REGEX, **stopping) -> Transcriber:
    return Transcriber(
        job=job(retrieval, **stopping), codec=codec, context_id="c", context_limit=None
    )


@given(cuts=st.sets(st.integers(1, len(BEFORE + QUERY) + 1)))
def test_parts_are_right_however_the_text_is_cut_into_tokens(cuts: set[int]) -> None:
    text = BEFORE + QUERY + AFTER
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    codec = words_of(pieces)
    transcriber = transcribe(codec)
    written, request = [], None
    for piece in pieces:
        [token] = codec.encode(piece).ids
        written.append(token)
        request = transcriber.write(token)
        if request is not None:
            break
    assert isinstance(request, SearchRequest)
    assert request.query == "<q </searc (\\S+)"
    assert request.text == ("P" + BEFORE).removesuffix(" ")
    inserted = transcriber.insert(FOUND, 0)
    assert inserted is not None
    transcriber.end()
    parts, ids = parts_of(transcriber)
    # What the last token holds beside the end of the marker stays: the model has written it.
    kept = "".join(pieces[: len(written)]).removeprefix(BEFORE + QUERY)
    rest = [(Part.ANSWER, kept)] if kept else []
    found = [(Part.INSERTED, " <result> dok </result> ")]
    assert parts == [(Part.ANSWER, BEFORE), (Part.QUERY, QUERY), *rest, *found]
    assert ids == [*written, *inserted]
    assert codec.decode(ids) == "".join(text for _, text in parts)


def test_what_a_later_search_looks_at_is_all_that_the_model_has_read() -> None:
    pieces = ["<search> a </sea", "rch>\n", "x<search> b", " </search>"]
    codec = words_of(pieces)
    transcriber = transcribe(codec)
    for piece in pieces[:2]:
        transcriber.write(codec.encode(piece).ids[0])
    transcriber.insert(FOUND, 0)
    transcriber.write(codec.encode(pieces[2]).ids[0])
    request = transcriber.write(codec.encode(pieces[3]).ids[0])
    assert isinstance(request, SearchRequest)
    assert request.text == "P<search> a </search>\n <result> dok </result> x"


def test_a_stop_string_ends_a_completion_before_the_marker_in_the_same_token() -> None:
    pieces = ["yes", "\n[Prob", "lem 2] <sea"]
    codec = words_of(pieces)
    transcriber = transcribe(codec, stop=("\n[Problem",))
    ends = [transcriber.write(codec.encode(piece).ids[0]) for piece in pieces]
    assert ends == [None, None, FinishReason.STOP]
    transcriber.end()
    parts, ids = parts_of(transcriber)
    assert parts == [(Part.ANSWER, "yes")]
    assert len(ids) == 3


@pytest.mark.parametrize("text", ["yes <sea", "yes <search> fem", "yes <"])
def test_what_might_have_become_a_marker_comes_out_at_the_end(text: str) -> None:
    codec = words_of([*text])
    transcriber = transcribe(codec)
    for character in text:
        transcriber.write(codec.encode(character).ids[0])
    transcriber.end()
    parts, ids = parts_of(transcriber)
    assert "".join(piece for _, piece in parts) == text
    assert len(ids) == len(text)


def byte_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    ids = [tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in text.encode()]
    assert None not in ids
    return ids


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_of_markers_in_bytes_nothing_is_written_past_the_end_of_the_query(
    tokenizers, kind: str
) -> None:
    codec = Codec(tokenizers[kind], eos_ids=frozenset(), answer_id=None, markers=None)
    transcriber = transcribe(codec)
    search = byte_tokens(tokenizers[kind], "<search> bab </search>")
    left = [*search, *codec.encode("dok fem").ids]
    num_ahead, consequence = transcriber.num_left, None
    while consequence is None:
        # As an engine writes: up to its limit, or to a token that may end a query.
        ends = [i + 1 for i, token in enumerate(left) if token in transcriber.stop_ids]
        end = min([*ends, num_ahead, len(left)])
        written, left = left[:end], left[end:]
        consequence, num_ahead = transcriber.write_all(written), transcriber.num_ahead
    assert isinstance(consequence, SearchRequest)
    assert transcriber.num_generated == len(search) + 1
    assert len(left) == len(codec.encode("dok fem").ids) - 1


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_what_follows_a_query_in_bytes_comes_out_at_the_end(tokenizers, kind: str) -> None:
    text = "<search>bab</search>dok"
    codec = Codec(tokenizers[kind], eos_ids=frozenset(), answer_id=None, markers=None)
    transcriber = transcribe(codec)
    tokens = byte_tokens(tokenizers[kind], text)
    transcriber.write_all(tokens)
    transcriber.end()
    parts, ids = parts_of(transcriber)
    assert parts == [(Part.QUERY, "<search>bab</search>"), (Part.ANSWER, "dok")]
    assert ids == tokens


def test_a_searched_text_and_a_failed_text_of_the_request_are_taken() -> None:
    codec = words_of(["<search> a </search>", " <result> none </result> "])
    own = Retrieval(
        mode=Mode.REGEX,
        searched_text="only this ",
        failed_text="none",
        result_prefix=" <result> ",
        result_suffix=" </result> ",
    )
    transcriber = transcribe(codec, own)
    request = transcriber.write(codec.encode("<search> a </search>").ids[0])
    assert isinstance(request, SearchRequest)
    assert request.text == "only this"
    transcriber.insert(SearchResult(outcome=Outcome.NOT_FOUND), 0)
    events = transcriber.outbox.take()
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert step.inserted_text == "none"
    assert events[-1] == Delta(
        part=Part.INSERTED,
        text=" <result> none </result> ",
        token_ids=codec.encode(" <result> none </result> ").ids,
    )


def test_an_insertion_reads_as_it_was_promised_in_every_tokenizer(
    tokenizers, language_kind: str
) -> None:
    codec = Codec(tokenizers[language_kind], eos_ids=frozenset(), answer_id=None, markers=None)
    for before in ("bab", "<search> x </search>", "<search> x </search>\n", "é"):
        for text in (" <result> dok </result> ", "\nfem", "  two", "dok", " é\n"):
            stream = codec.stream(codec.encode_prompt(before).ids)
            ids = codec.encode_insertion(text, stream).ids
            assert stream.read(ids) + stream.flush() == text


def test_the_engine_goes_on_after_an_insertion_of_a_foreign_tokenizer(
    drive, tokenizers, language_kind: str
) -> None:
    tokenizer = tokenizers[language_kind]
    codec = Codec(tokenizer, eos_ids=frozenset({1}), answer_id=None, markers=None)
    prompt = codec.encode_prompt("bab dok ; fem gik ; fem\n").ids
    stream = codec.stream(prompt)
    script = codec.encode_insertion("I look: <search> fem (\\S+) </search>", stream).ids
    after = codec.encode_insertion("\nAnswer: gik", stream).ids
    model = ScriptedModel.from_scripts(
        {prompt[-1]: [*script, *after, 1]}, vocabulary_size=tokenizer.get_vocab_size()
    )
    driver = drive(model, codec)
    received = driver.ask(prompt, retrieval=REGEX)
    driver.run()
    assert received.text == (
        "I look: <search> fem (\\S+) </search> <result> gik </result> \nAnswer: gik"
    )
    inserted = [delta for delta in received.deltas if delta.part is Part.INSERTED]
    assert [delta.text for delta in inserted] == [" <result> gik </result> "]
    assert received.tokens == [*script, *inserted[0].token_ids, *after, 1]
    assert received.finished.reason is FinishReason.EOS
