import random

import numpy as np
import pytest
from harnessapi.values import Mode, Outcome
from hypothesis import given
from hypothesis import strategies as st

from harness_retrieval.dense.dense_index import DenseContextIndex, FlatIndex
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest

EMBEDDER = HashingEmbedder()


def passages_slowly(text: str, separator: str) -> list[tuple[str, int]]:
    found, begin = [], 0
    for raw in text.split(separator):
        if raw.strip():
            found.append((raw.strip(), begin + len(raw) - len(raw.lstrip())))
        begin += len(raw) + len(separator)
    return found


def best_slowly(text: str, query: str, separator: str, top_k: int) -> list[tuple[str, int]]:
    passages = passages_slowly(text, separator)
    query_words = set(query.split())
    vectors = EMBEDDER.embed([query, *(passage for passage, _ in passages)])
    scored = [
        (-round(float(vectors[0] @ vector), 5), start, passage)
        for (passage, start), vector in zip(passages, vectors[1:], strict=True)
        if set(passage.split()) & query_words and not set(passage.split()) <= query_words
    ]
    return [(text, start) for score, start, text in sorted(scored)[:top_k] if score < -1e-4]


WORDS = st.sampled_from(["bab", "dad", "né", "x", ";", " ", "\n", ";;"])
TEXTS = st.lists(WORDS, max_size=60).map(" ".join)


@given(
    text=TEXTS,
    cuts=st.lists(st.integers(0, 150), max_size=4),
    query=st.sampled_from(["bab", "bab dad", "né x", "zzz"]),
    top_k=st.integers(1, 5),
    separator=st.sampled_from([";", "\n"]),
)
def test_a_growing_context_finds_what_comparing_all_passages_finds(
    text: str, cuts: list[int], query: str, top_k: int, separator: str
) -> None:
    index = DenseContextIndex(EMBEDDER, separator)
    for length in [*sorted(cuts), len(text)]:
        index.grow(text[:length])
        result = index.search(query, top_k)
        expected = best_slowly(text[:length], query, separator, top_k)
        if not expected:
            assert result.outcome is Outcome.NOT_FOUND
            continue
        joint = " ; " if separator == ";" else "\n"
        assert result.text == joint.join(passage for passage, _ in expected)
        assert (result.start, result.end) == (expected[0][1], expected[0][1] + len(expected[0][0]))
    assert index.num_passages <= len(passages_slowly(text, separator))


@pytest.mark.parametrize("num_equal", [3, 40, 300])
def test_among_equals_the_earliest_wins(num_equal: int) -> None:
    index = FlatIndex(EMBEDDER.num_dimensions)
    index.add(EMBEDDER.embed(["gog mim"] * 5 + ["bab x"] * num_equal + ["bab"] + ["bab y"] * 50))
    query = EMBEDDER.embed(["bab"])[0]
    best = 5 + num_equal
    assert [position for _, position in index.best(query, 3)] == [best, 5, 6]


def test_the_best_of_a_flat_index_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 32)).astype(np.float32)
    index = FlatIndex(32)
    assert index.best(vectors[0], 4) == []
    index.add(vectors[:200])
    index.add(vectors[200:])
    for query in vectors[:20]:
        expected = np.argsort(-(vectors @ query))[:7].tolist()
        assert [position for _, position in index.best(query, 7)] == expected
    assert len(index.best(vectors[0], 1000)) == 500


def test_every_key_of_a_long_list_finds_its_value() -> None:
    rng = random.Random(0)
    keys = rng.sample([f"{a}{b}{a}" for a in "bcdfghjk" for b in "aeiou"], 40)
    text = " ; ".join(f"{key} {rng.randrange(100)}" for key in keys) + " ; ? "
    index = DenseContextIndex(EMBEDDER, ";")
    for key in keys:
        text += f"<search> {key} </search> "
        index.grow(text)
        assert index.search(key, 1).text == text[text.index(key) :].split(" ;")[0]


def test_the_models_own_query_is_no_answer_to_it() -> None:
    index = DenseContextIndex(EMBEDDER, ";")
    index.grow("bab ; bab bab ; dad ; gog bab ; bab")
    assert index.search("bab", 1).text == "gog bab"
    assert index.search("bab gog", 1).outcome is Outcome.NOT_FOUND


def test_a_context_of_too_many_passages_is_too_costly() -> None:
    text = "a b;" * 65_537
    request = SearchRequest(
        context_id="c", text=text, mode=Mode.DENSE, query="a", passage_separator=";"
    )
    assert LocalRetriever().search([request])[0].outcome is Outcome.TOO_COSTLY


def test_indexes_past_the_bounds_are_forgotten() -> None:
    class Clock:
        now_s = 0.0

        def __call__(self) -> float:
            return self.now_s

    clock = Clock()
    retriever = LocalRetriever(clock=clock)
    for number in range(5):
        clock.now_s = 300.0 * number
        retriever.search(
            [SearchRequest(context_id=f"c{number}", text="a b", mode=Mode.DENSE, query="a")]
        )
    assert retriever.num_contexts == 3
