"""The command line against servers with vLLM's and SGLang's own gRPC services."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from harness.endpoints.engines import EngineProtocol

# What `pip install .` alone has: neither stubs nor a tokenizer library.
WITHOUT_EXTRA = """
import sys
sys.modules["smg_grpc_proto"] = None
from harness.cli import main
main(prog_name="harness")
"""


@pytest.fixture
def tokenizer(workplace: Any) -> Path:
    """A folder with a tokenizer that has a token for each byte."""
    names = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    folder = Path(workplace.folder) / "words"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def far(workplace: Any, tokenizer: Path) -> Iterator[Callable[[EngineProtocol], None]]:
    """Starts a fake in a process of its own, and writes the table of it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(protocol: EngineProtocol) -> None:
        address = f"unix:{workplace.temporary}/far.sock"
        command = [sys.executable, "-m", "harness.fakes.fake_engine", str(tokenizer)]
        command += ["--protocol", protocol, "--address", address]
        started.append(subprocess.Popen(command))
        write(f'address = "{address}"', f'protocol = "{protocol}"', 'tokenizer = "words"')

    yield start
    for process in started:
        process.kill()
        process.wait()


def write(*lines: str) -> None:
    Path("endpoints.toml").write_text("\n".join(["[far]", *lines, "retrieval = true", ""]))


@pytest.mark.parametrize("protocol", EngineProtocol)
def test_an_engine_is_checked_and_asked_with_and_without_searches(
    protocol: EngineProtocol, workplace: Any, far: Callable[[EngineProtocol], None]
) -> None:
    far(protocol)
    result = workplace.run("endpoints", "check", "far")
    assert result.exit_code == 0, result.stderr
    assert "far: healthy" in result.stdout
    assert "far-model, external, 4,096 tokens of context" in result.stdout
    asked = ("--task", "assoc_recall", "--size", "4", "--samples", "6", "--json")
    result = workplace.run("eval", "--endpoint", "far", "--prompting", "direct,search", *asked)
    assert result.exit_code == 0, result.stderr
    cells = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(cell["prompting"], cell["accuracy"]) for cell in cells] == [
        ("direct", 1.0),
        ("search", 1.0),
    ]
    assert [cell["searches_per_sample"] for cell in cells] == [0.0, 1.0]
    manifest = json.loads((workplace.only_run() / "manifest.json").read_text())
    [endpoint] = manifest["endpoints"]
    assert endpoint["place"].endswith(f"far.sock {protocol}")
    assert endpoint["api"] == "completions"
    assert all(sample["prompt_token_ids"] for sample in workplace.samples())


def test_without_its_extra_an_engine_says_what_to_install(workplace: Any, tokenizer: Path) -> None:
    write('address = "127.0.0.1:1"', 'protocol = "vllm"', 'tokenizer = "words"')
    process = workplace.start_program(WITHOUT_EXTRA, "endpoints", "check", "far")
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "'far': protocol = \"vllm\" needs smg_grpc_proto" in errors
    assert "pip install 'recall-harness[engine-grpc]'" in errors


def test_a_folder_that_is_not_there_is_said_before_anything_is_asked(workplace: Any) -> None:
    write('address = "127.0.0.1:1"', 'protocol = "vllm"', 'tokenizer = "nowhere"')
    result = workplace.run("eval", "--endpoint", "far", "--task", "assoc_recall")
    assert result.exit_code == 2
    assert "endpoint 'far': no tokenizer at" in result.stderr
    assert not (workplace.folder / "runs").exists()
