"""The same prompts on other people's engines: transformers in process, vLLM in a process."""

import json
import subprocess
import time
from pathlib import Path

import torch

from benchmarks.serving import Measured

_CHILD = Path(__file__).with_name("vllm_child.py")
# Importing and starting it take most of a minute.
_MAX_VLLM_S = 300


def run_transformers(
    checkpoint: Path, prompts: list[list[int]], max_new_tokens: int, threads: int
) -> Measured:
    """`generate` on one batch, padded on the left to its longest prompt."""
    import transformers  # noqa: PLC0415  # takes seconds to import

    transformers.logging.set_verbosity_error()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    how = {"attention_mask": mask, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    try:
        model.generate(tokens, max_new_tokens=2, **how)
        began = time.perf_counter()
        whole = model.generate(tokens, max_new_tokens=max_new_tokens, **how)
        seconds = time.perf_counter() - began
    finally:
        torch.set_num_threads(before)
    num_tokens = len(prompts) * (whole.shape[1] - longest)
    return Measured(
        num_samples=len(prompts), num_tokens=num_tokens, num_searches=0, seconds=seconds
    )


def run_vllm(
    python: str, checkpoint: Path, prompts: list[list[int]], max_new_tokens: int
) -> Measured | str:
    """vLLM in the environment of `python`; why not, where that has none or vLLM fails."""
    if subprocess.run([python, "-c", "import vllm"], capture_output=True, check=False).returncode:
        return f"{python} cannot import vllm (name one that can with --vllm-python)"
    question = {
        "checkpoint": str(checkpoint.resolve()),
        "prompts": prompts,
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
    answer = json.loads(child.stdout.splitlines()[-1])
    return Measured(num_samples=len(prompts), num_searches=0, **answer)
