"""Log-probabilities that a run stored of a shipped checkpoint are those that `Score` gives."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harnessapi.rpc.targets import parse_target

from harness.clients.grpc_client import Client

CHECKPOINT = Path(__file__).parents[3] / "checkpoints" / "rnn"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
NUM_TOP = 3


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"unix:{tmp_path_factory.mktemp('socket')}/s"
    command = [sys.executable, "-m", "harness_servers.command", str(CHECKPOINT)]
    process = subprocess.Popen(
        [*command, "--listen", address], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("listening")
    yield address
    process.terminate()
    process.communicate(timeout=600)


def stored(folder: Path, address: str, prompting: str) -> list[dict[str, Any]]:
    """The samples of an eval, as they lie in its run."""
    (folder / "endpoints.toml").write_text(f'[far]\naddress = "{address}"\nretrieval = true\n')
    command = [sys.executable, "-m", "harness", "eval", "--endpoint", "far", "--samples", "4"]
    command += ["--task", "assoc_recall", "--size", "8", "--prompting", prompting]
    done = subprocess.run(
        [*command, "--log-probs", str(NUM_TOP)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("runs/*/samples.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


async def completion_ids(client: Client, sample: dict[str, Any]) -> tuple[list[int], list[int]]:
    """All of a completion as the model read it, and the places of what it wrote itself."""
    ids: list[int] = []
    generated: list[int] = []
    for part, text in sample["transcript"]:
        tokens = (await client.score(None, text)).tokens
        if part != "inserted":
            generated += range(len(ids), len(ids) + len(tokens))
        ids += [one.token_id for one in tokens]
    # The end of the sequence is a token without a text.
    return [*ids, sample["log_probs"][-1]["token_id"]], [*generated, len(ids)]


@pytest.mark.parametrize("prompting", ["direct", "cot", "search"])
async def test_what_is_stored_is_the_score_of_what_was_written(
    tmp_path: Path, address: str, prompting: str
) -> None:
    samples = stored(tmp_path, address, prompting)
    client = Client(parse_target(address))
    assert len(samples) == 4
    for sample in samples:
        ids, generated = await completion_ids(client, sample)
        assert len(generated) == sample["num_generated_tokens"] == len(sample["log_probs"])
        assert len(ids) - len(generated) == sample["num_inserted_tokens"]
        score = await client.score(sample["prompt_token_ids"], ids, top_log_probs=NUM_TOP)
        for place, one in zip(generated, sample["log_probs"], strict=True):
            scored = score.tokens[place]
            assert (one["token_id"], one["token"]) == (scored.token_id, scored.token)
            assert one["log_prob"] == pytest.approx(scored.log_prob, abs=1e-3)
            likeliest = [top.log_prob for top in scored.top]
            assert [top["log_prob"] for top in one["top"]] == pytest.approx(likeliest, abs=1e-3)
            assert one["top"][0]["token_id"] == one["token_id"]  # decoded greedily
    if prompting == "search":
        assert all(sample["num_inserted_tokens"] for sample in samples)
    await client.close()
