import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc

from harness_retrieval.corpora import Corpora
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.errors import (
    CorporaUnavailableError,
    CorpusDamagedError,
    CorpusExistsError,
    CorpusNotFoundError,
    InvalidArgumentError,
)

PASSAGES = ["bab dad", "gog\nmim \u2028 é", "bab sas tat"]


@pytest.fixture
def corpora(tmp_path: Path) -> Iterator[Corpora]:
    opened = Corpora(tmp_path, HashingEmbedder())
    yield opened
    opened.close()


def reopened(corpora: Corpora, root: Path) -> Corpora:
    corpora.close()
    return Corpora(root, HashingEmbedder())


def test_passages_are_found_again_after_a_restart(corpora: Corpora, tmp_path: Path) -> None:
    corpora.create("one")
    corpora.add("one", PASSAGES[:2])
    assert corpora.add("one", PASSAGES[2:]).num_passages == 3
    before = corpora.search("one", ["bab", "mim", "zzz"], 2)
    assert [[hit.text for hit in hits] for hits in before][:2] == [
        [PASSAGES[0], PASSAGES[2]],
        [PASSAGES[1]],
    ]
    after = reopened(corpora, tmp_path)
    assert after.search("one", ["bab", "mim", "zzz"], 2) == before
    assert after.add("one", ["new bab"]).num_passages == 4
    assert after.search("one", ["new"], 1)[0][0].passage_id == 3
    after.close()


@pytest.mark.parametrize("file", ["passages.jsonl", "vectors.f32", "corpus.json.new"])
def test_what_a_crash_in_an_add_leaves_behind_is_ignored_and_cut_off(
    corpora: Corpora, tmp_path: Path, file: str
) -> None:
    corpora.create("one")
    corpora.add("one", PASSAGES)
    with (tmp_path / "one" / file).open("ab") as torn:
        torn.write(b'"half a pass')
    after = reopened(corpora, tmp_path)
    assert after.describe("one").num_passages == 3
    after.add("one", ["new one"])
    again = reopened(after, tmp_path)
    assert [hit.text for hit in again.search("one", ["new"], 1)[0]] == ["new one"]
    assert again.describe("one").num_passages == 4
    again.close()


@pytest.mark.parametrize("file", ["passages.jsonl", "vectors.f32", "corpus.json"])
def test_a_corpus_that_lost_content_is_an_error_that_names_it(
    corpora: Corpora, tmp_path: Path, file: str
) -> None:
    corpora.create("one")
    corpora.add("one", PASSAGES)
    content = (tmp_path / "one" / file).read_bytes()
    (tmp_path / "one" / file).write_bytes(content[: len(content) // 2])
    after = reopened(corpora, tmp_path)
    with pytest.raises(CorpusDamagedError, match="'one'"):
        after.search("one", ["bab"], 1)
    after.close()


def test_a_corpus_of_another_embedder_is_refused(corpora: Corpora, tmp_path: Path) -> None:
    corpora.create("one")
    path = tmp_path / "one" / "corpus.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "embedder": "other"}))
    after = reopened(corpora, tmp_path)
    with pytest.raises(CorpusDamagedError, match="'other'"):
        after.describe("one")
    after.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "x" * 65, "é", "a\n"])
def test_a_name_that_could_leave_the_folder_is_refused(corpora: Corpora, name: str) -> None:
    for call in (corpora.create, corpora.describe, corpora.delete):
        with pytest.raises(InvalidArgumentError, match="corpus name"):
            call(name)


def test_corpora_are_created_listed_and_deleted(corpora: Corpora, tmp_path: Path) -> None:
    for name in ("b.2", "a-1"):
        assert corpora.create(name).num_passages == 0
    (tmp_path / "no corpus").mkdir()
    assert [each.name for each in corpora.describe_all()] == ["a-1", "b.2"]
    with pytest.raises(CorpusExistsError, match=r"'b\.2'"):
        corpora.create("b.2")
    corpora.delete("b.2")
    for call in (corpora.describe, corpora.delete):
        with pytest.raises(CorpusNotFoundError, match=r"'b\.2'"):
            call("b.2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "a-1", "no corpus"]
    assert corpora.search("a-1", ["x"], 1) == [[]]


def test_bad_input_is_refused_and_changes_nothing(corpora: Corpora) -> None:
    corpora.create("one")
    with pytest.raises(InvalidArgumentError, match="passage 1 "):
        corpora.add("one", ["fine", " "])
    with pytest.raises(InvalidArgumentError, match="top_k is 0"):
        corpora.search("one", ["a"], 0)
    with pytest.raises(InvalidArgumentError, match="query"):
        corpora.search("one", [" "], 1)
    assert corpora.describe("one").num_passages == 0


def test_a_folder_is_used_by_one_process_at_a_time(corpora: Corpora, tmp_path: Path) -> None:
    with pytest.raises(CorporaUnavailableError, match=str(tmp_path)):
        Corpora(tmp_path, HashingEmbedder())


def test_corpora_are_kept_over_grpc(start_service: Callable[..., Any], tmp_path: Path) -> None:
    service = start_service(corpora_dir=tmp_path / "corpora")
    with grpc.insecure_channel(service.address) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        created = stub.CreateCorpus(pb.CreateCorpusRequest(name="one")).corpus
        assert (created.num_dimensions, created.device) == (1024, "cpu")
        stub.AddPassages(pb.AddPassagesRequest(name="one", passages=PASSAGES))
        found = stub.SearchCorpus(pb.SearchCorpusRequest(name="one", queries=["mim", "bab dad"]))
        assert [[hit.passage_id for hit in result.hits][:1] for result in found.results] == [
            [1],
            [0],
        ]
        described = stub.DescribeCorpus(pb.DescribeCorpusRequest(name="one")).corpus
        assert described.num_passages == 3
        assert list(stub.ListCorpora(pb.ListCorporaRequest()).corpora) == [described]
        stub.DeleteCorpus(pb.DeleteCorpusRequest(name="one"))
        for name, code in (("one", "NOT_FOUND"), ("../x", "INVALID_ARGUMENT")):
            with pytest.raises(grpc.RpcError) as raised:
                stub.DescribeCorpus(pb.DescribeCorpusRequest(name=name))
            assert raised.value.code().name == code
            assert name in str(raised.value.details())


def test_a_service_without_corpora_says_so(start_service: Callable[..., Any]) -> None:
    with grpc.insecure_channel(start_service().address) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.ListCorpora(pb.ListCorporaRequest())
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
