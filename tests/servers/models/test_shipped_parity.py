"""The shipped checkpoints of our engine against transformers, on prompts that they can read."""

from pathlib import Path

import pytest
import torch
import transformers

from benchmarks.tiny_models import greedy_tokens
from harness.sample import Split
from harness.tasks import make_task
from harness.tasks.prompts import render
from harness.way import Way
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.generation import Stopping

ROOT = Path(__file__).parents[3]
NUM_GREEDY = 256


def prompts() -> list[str]:
    task = make_task("assoc_recall", size=24)
    ways = [Way.parse(name) for name in ("direct", "cot", "search regex")]
    return [
        render(task, task.sample(Split.TEST, 90210, index), way) for index, way in enumerate(ways)
    ]


@pytest.mark.parametrize("name", ["ssm", "hybrid"])
def test_a_shipped_checkpoint_computes_what_transformers_computes(name: str, drive) -> None:
    folder = ROOT / "checkpoints" / name
    loaded = load_checkpoint(folder)
    other = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for prompt in prompts():
        ids = loaded.codec.encode(prompt).ids
        tokens = torch.tensor([ids])
        with torch.no_grad():
            expected = other(tokens).logits[0, -1]
        logits = loaded.model.prefill(
            tokens, torch.tensor([len(ids)]), loaded.model.init_state(1), torch.tensor([0])
        )[0]
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        driver = drive(loaded.model, loaded.codec)
        received = driver.ask(
            list(ids), stopping=Stopping(max_new_tokens=NUM_GREEDY, ignore_eos=True)
        )
        driver.run()
        assert received.tokens == greedy_tokens(other, list(ids), NUM_GREEDY)
