"""Conversations worded by a chat template, up to where the model's reply begins.

A template is a program of somebody else's. It runs in a process of its own (`template_worker`),
within bounds of time, memory and size, and can end nothing but itself.
"""

import contextlib
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

_WORKER: Final = "harnessapi.text.template_worker"
# A rendering takes milliseconds; the first one waits for the process to start.
_RENDER_LIMIT_S: Final = 10.0
_START_LIMIT_S: Final = 60.0
_MAX_ANSWER_BYTES: Final = 2**28


class TemplateError(ValueError):
    """A template cannot be read, or does not word a conversation; says why."""


class ChatTemplate:
    """Words conversations, one at a time; thread-safe. `render_limit_s` bounds each of them."""

    def __init__(
        self, text: str, variables: Mapping[str, str], *, render_limit_s: float = _RENDER_LIMIT_S
    ) -> None:
        self._order = {"template": text, "variables": dict(variables)}
        self._render_limit_s = render_limit_s
        self._lock = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text that the model reads, up to where its reply begins.

        Blocks for as long as the template takes. Raises TemplateError with what it said.
        """
        with self._lock:
            worker = self._worker
            if worker is None or worker.poll() is not None:
                worker = self._worker = self._start()
            answer = _exchange(worker, {"messages": list(messages)}, self._render_limit_s)
        if answer is None:
            raise TemplateError(
                f"the chat template was stopped: it takes over {self._render_limit_s:g} s or too "
                "much memory for this conversation"
            )
        if "error" in answer:
            raise TemplateError(f"the chat template refuses it: {answer['error']}")
        return str(answer["text"])

    def _start(self) -> "subprocess.Popen[bytes]":
        worker = subprocess.Popen(
            [sys.executable, "-m", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, worker)
        if _exchange(worker, self._order, _START_LIMIT_S) is None:
            raise TemplateError("the process for chat templates does not start")
        return worker


def _exchange(
    worker: "subprocess.Popen[bytes]", order: Mapping[str, Any], limit_s: float
) -> dict[str, Any] | None:
    """A line to the worker, and its answer; None where it had none in time: it is ended then."""
    if worker.stdin is None or worker.stdout is None:
        raise RuntimeError("the worker has no pipes")
    limit = threading.Timer(limit_s, worker.kill)
    limit.start()
    try:
        worker.stdin.write(json.dumps(order).encode() + b"\n")
        worker.stdin.flush()
        line = worker.stdout.readline(_MAX_ANSWER_BYTES)
    except BrokenPipeError:
        line = b""
    finally:
        limit.cancel()
    if not line.endswith(b"\n"):
        _end(worker)
        return None
    answer: dict[str, Any] = json.loads(line)
    return answer


def _end(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
