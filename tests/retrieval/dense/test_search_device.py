"""Where FAISS compares passages."""

import faiss
import pytest
from click.testing import CliRunner
from harnessapi.devices import DeviceError

from harness_retrieval.command import retrieval_command
from harness_retrieval.dense.dense_index import index_device
from harness_retrieval.local import LocalRetriever

SEES_GPU = getattr(faiss, "get_num_gpus", lambda: 0)() > 0
HAS_GPU_CLASSES = hasattr(faiss, "StandardGpuResources")
WHY = "FAISS sees no GPU" if HAS_GPU_CLASSES else "pip install faiss-gpu-cu12"


def test_what_faiss_sees_is_taken_unless_told_otherwise() -> None:
    assert index_device() == index_device("auto") == ("cuda" if SEES_GPU else "cpu")
    assert index_device("cpu") == "cpu"


@pytest.mark.skipif(SEES_GPU, reason="FAISS sees a GPU here")
def test_a_gpu_that_is_not_there_is_refused_with_what_would_help() -> None:
    with pytest.raises(DeviceError, match=WHY):
        LocalRetriever(device="cuda")
    ended = CliRunner().invoke(retrieval_command, ["--listen", "127.0.0.1:0", "--device", "cuda"])
    assert ended.exit_code == 2
    assert WHY in ended.output
