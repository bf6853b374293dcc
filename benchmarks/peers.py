"""The same prompts on other people's engines: transformers in process, vLLM in a process."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.serving import Measured

_CHILD = Path(__file__).with_name("vllm_child.py")
# Importing and starting it take most of a minute.
_MAX_VLLM_S = 300


def run_transformers(
    checkpoint: Path, rounds: list[list[list[int]]], max_new_tokens: int, threads: int
) -> list[Measured]:
    """`generate` on one batch a round, padded on the left to its longest prompt."""
    import transformers  # noqa: PLC0415  # takes seconds to import

    transformers.logging.set_verbosity_error()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
        return [_generate(model, prompts, max_new_tokens) for prompts in rounds]
    finally:
        torch.set_num_threads(before)


def _generate(model: Any, prompts: list[list[int]], max_new_tokens: int) -> Measured:
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    began = time.perf_counter()
    whole = model.generate(
        tokens,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return Measured(
        num_samples=len(prompts),
        num_tokens=len(prompts) * (whole.shape[1] - longest),
        num_searches=0,
        seconds=time.perf_counter() - began,
    )


def run_vllm(
    python: str, checkpoint: Path, rounds: list[list[list[int]]], max_new_tokens: int
) -> list[Measured] | str:
    """vLLM in the environment of `python`, round by round; why not, where that is not possible."""
    if subprocess.run([python, "-c", "import vllm"], capture_output=True, check=False).returncode:
        return f"{python} cannot import vllm (name one that can with --vllm-python)"
    question = {
        "checkpoint": str(checkpoint.resolve()),
        "rounds": rounds,
        "max_new_tokens": max_new_tokens,
    }
    try:
        child = subprocess.run(
            [python, str(_CHILD)],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=False,
            timeout=_MAX_VLLM_S,
        )
    except subprocess.TimeoutExpired:
        return f"it did not finish within {_MAX_VLLM_S} s"
    if child.returncode:
        return f"it failed: {child.stderr.strip().splitlines()[-1]}"
    return [
        Measured(num_samples=len(prompts), num_searches=0, **answer)
        for prompts, answer in zip(rounds, json.loads(child.stdout.splitlines()[-1]), strict=True)
    ]
