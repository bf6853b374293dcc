"""Other people's engines on the same prompts: transformers in process, vLLM in a process."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.serving import Measured

_CHILD = Path(__file__).with_name("vllm_child.py")
# Importing and starting it take most of a minute, and many where other work is under way.
_MAX_VLLM_S = 900


class PeerError(Exception):
    """A peer cannot run here; says why."""


class Transformers:
    """`generate` on one batch a round, padded on the left to its longest prompt."""

    def __init__(self, checkpoint: Path, threads: int) -> None:
        import transformers  # noqa: PLC0415  # takes seconds to import

        transformers.logging.set_verbosity_error()
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()
        self._threads = threads

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Measured:
        """All prompts at once, to their ends."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            return self._generate(prompts, max_new_tokens)
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """There is nothing to end."""

    def _generate(self, prompts: list[list[int]], max_new_tokens: int) -> Measured:
        longest = max(map(len, prompts))
        tokens = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
        began = time.perf_counter()
        whole = self._model.generate(
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


class Vllm:
    """vLLM in a process of its own, in the environment of `python`."""

    def __init__(self, python: str, checkpoint: Path, num_sequences: int) -> None:
        """Raises PeerError."""
        command = [python, "-c", "import vllm"]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise PeerError(f"{python} cannot import vllm (name one that can with --vllm-python)")
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # see close
        self._child = subprocess.Popen(
            [python, str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._ask({"checkpoint": str(checkpoint.resolve()), "max_num_seqs": num_sequences})

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Measured:
        """All prompts at once, to their ends. Raises PeerError."""
        answer = self._ask({"prompts": prompts, "max_new_tokens": max_new_tokens})
        return Measured(num_samples=len(prompts), num_searches=0, **answer)

    def close(self) -> None:
        """Ends the process."""
        self._child.communicate()
        self._log.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        overdue = threading.Timer(_MAX_VLLM_S, self._kill)
        overdue.start()
        line = ""
        try:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(question), file=self._child.stdin, flush=True)
                line = self._child.stdout.readline()
            status = None if line else self._child.wait()
        finally:
            overdue.cancel()
        if not line:
            if status == -signal.SIGKILL:
                raise PeerError(f"it did not answer within {_MAX_VLLM_S} s, or was killed")
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["nothing was said"])[-1]
            raise PeerError(f"it failed: {last}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _kill(self) -> None:
        """With the processes that it has started: they outlive it, and hold gigabytes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
