import os
import subprocess
import sys

import numpy as np

from harness_retrieval.dense.embedding import HashingEmbedder

TEXTS = ["bab dad", "né zuz", "", "the quick brown fox " * 20]


def test_another_process_gives_the_same_vectors() -> None:
    program = (
        "import sys; from harness_retrieval.dense.embedding import HashingEmbedder;"
        f"sys.stdout.buffer.write(HashingEmbedder().embed({TEXTS!r}).tobytes())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1234", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )
    assert done.stdout == HashingEmbedder().embed(TEXTS).tobytes()


def test_vectors_have_length_one_or_are_zero_where_there_are_no_words() -> None:
    vectors = HashingEmbedder(256).embed([*TEXTS, " \n"])
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.allclose(lengths, [1, 1, 0, 1, 0], atol=1e-6)
    assert HashingEmbedder().embed([]).shape == (0, 1024)


def test_a_vector_does_not_depend_on_its_neighbours_or_on_what_was_embedded_before() -> None:
    embedder = HashingEmbedder()
    together = embedder.embed([f"{text} {number}" for number in range(700) for text in TEXTS])
    alone = HashingEmbedder().embed([f"{TEXTS[0]} 699"])
    assert np.array_equal(together[-4], alone[0])


def test_the_first_word_and_the_order_of_words_count() -> None:
    query, begins, ends, other = HashingEmbedder().embed(["bab", "bab dad", "dad bab", "gog mim"])
    assert query @ begins > query @ ends > query @ other


def test_the_cache_of_features_is_bounded() -> None:
    embedder = HashingEmbedder(64)
    for start in range(0, 80_000, 8_000):
        embedder.embed([f"{number} x" for number in range(start, start + 8_000)])
    assert len(embedder._digests) <= 65_536
