"""vLLM's own engine as a token source: every continuation of a sequence is a request there."""

import asyncio
import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from harness_servers.backends.vllm_log_probs import log_probs
from harness_servers.errors import CheckpointError
from harness_servers.generation import Sampling
from harness_servers.process.daemon_thread import in_daemon_thread
from harness_servers.token_source import Closing, Command, News, Opening, TokenChunk

_POLL_S: Final = 0.1
# Then the engine's processes are killed: they have nothing to save.
_SHUTDOWN_S: Final = 1.0


@dataclass(kw_only=True, slots=True)
class _Continued:
    """A sequence that is open: all its tokens, and the request that writes on after them."""

    opening: Opening
    token_ids: list[int] = field(default_factory=list)
    num_written: int = 0
    request: asyncio.Task[None] | None = None


class VllmSource:
    """A TokenSource over AsyncLLM, which runs its engine in processes of its own."""

    def __init__(self, *, folder: Path, config: Any) -> None:
        """`config`: of engine_config."""
        self._folder = folder
        self._config = config
        self._request_ids = itertools.count()
        self._continued: dict[int, _Continued] = {}
        # Requests that are being aborted are waited for at the end.
        self._requests: set[asyncio.Task[None]] = set()
        self._engine: Any = None
        self._listen: Callable[[News], None] | None = None

    async def start(self, listen: Callable[[News], None]) -> None:
        """See TokenSource.start."""
        from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415

        self._listen = listen
        # Half a minute, most of it waiting: the event loop has to answer meanwhile.
        try:
            self._engine = await in_daemon_thread(
                lambda: AsyncLLM.from_vllm_config(self._config, disable_log_stats=True)
            )
            await self._write_first()
        except Exception as error:  # nothing more precise comes out of the engine's process
            raise CheckpointError(
                f"checkpoint {self._folder}: vLLM cannot start: {error}"
            ) from error

    async def _write_first(self) -> None:
        """What no kernel of this device can run shows at the first tokens, read and written."""
        from vllm import SamplingParams  # noqa: PLC0415

        params = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True, detokenize=False)
        async with contextlib.aclosing(self._outputs([0, 0], params)) as outputs:
            async for _ in outputs:
                pass

    def send(self, command: Command) -> None:
        """See TokenSource.send."""
        if isinstance(command, Closing):
            gone = self._continued.pop(command.sequence_id, None)
            if gone is not None and gone.request is not None:
                gone.request.cancel()
            return
        if isinstance(command, Opening):
            self._continued[command.sequence_id] = _Continued(opening=command)
        continued = self._continued.get(command.sequence_id)
        if continued is None:
            return
        continued.token_ids += command.token_ids
        is_given = continued.opening.first_scored is not None
        work = self._score if is_given else self._write
        request = asyncio.create_task(self._run(work(continued, command.max_new_tokens), continued))
        continued.request = request
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)

    async def wait_failed(self) -> str:
        """See TokenSource.wait_failed; vLLM notices by itself and has to be asked."""
        while not self._engine.errored:
            await asyncio.sleep(_POLL_S)
        return "the engine died"

    async def close(self) -> None:
        """See TokenSource.close."""
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        if self._engine is not None:
            # On the event loop: seen from there, an engine that is being ended looks like a death.
            self._engine.shutdown(timeout=_SHUTDOWN_S)

    async def _run(self, chunks: AsyncGenerator[TokenChunk], continued: _Continued) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError  # noqa: PLC0415

        why = ""
        try:
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    self._say(chunk)
            return
        except EngineDeadError:
            return  # `wait_failed` says so of all
        except EngineGenerateError as error:
            why = f"the engine failed: {error.__cause__!r}"
        except Exception as error:
            why = f"the engine failed: {error!r}"
        self._say(TokenChunk(sequence_id=continued.opening.sequence_id, error=why))

    def _say(self, chunk: TokenChunk) -> None:
        if self._listen is not None:
            self._listen(News(at_ns=time.monotonic_ns(), chunks=[chunk]))

    async def _write(
        self, continued: _Continued, max_new_tokens: int
    ) -> AsyncGenerator[TokenChunk]:
        opening = continued.opening
        num_written = continued.num_written
        params = _sampling_params(opening, num_written, max_new_tokens)
        async for output in self._outputs(list(continued.token_ids), params):
            ids, given = list(output.outputs[0].token_ids), output.outputs[0].logprobs
            continued.token_ids += ids
            continued.num_written += len(ids)
            yield TokenChunk(
                sequence_id=opening.sequence_id,
                token_ids=ids,
                num_cached=output.num_cached_tokens or 0,
                log_probs=log_probs(ids, given, opening.top_log_probs) if given else [],
                is_paused=output.finished,
            )
        if continued.num_written == num_written:
            yield TokenChunk(
                sequence_id=opening.sequence_id,
                error="the engine ended a sequence without a reason",
            )

    async def _score(
        self, continued: _Continued, _max_new_tokens: int
    ) -> AsyncGenerator[TokenChunk]:
        """The last token is written, as the only one that may be.

        With it in the prompt, a text that fills the context would be too long to be read.
        """
        opening, first = continued.opening, continued.opening.first_scored or 0
        num_top = opening.top_log_probs or 0
        *read, last = continued.token_ids
        yield TokenChunk(sequence_id=opening.sequence_id, num_cached=0)
        given: list[Any] = []
        async for output in self._outputs(read, _scoring_params(read, last, first, num_top)):
            given += (output.prompt_logprobs or [])[first:]
            given += output.outputs[0].logprobs or []
        yield TokenChunk(
            sequence_id=opening.sequence_id,
            log_probs=log_probs(continued.token_ids[first:], given, num_top),
            is_paused=True,
        )

    async def _outputs(self, token_ids: list[int], params: object) -> AsyncGenerator[Any]:
        """What the engine sends of one request; aborts it where nobody listens any more."""
        from vllm.inputs import TokensPrompt  # noqa: PLC0415

        request_id = str(next(self._request_ids))
        is_finished = False
        prompt = TokensPrompt(prompt_token_ids=token_ids)
        outputs = self._engine.generate(prompt, params, request_id)
        try:
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    is_finished = output.finished
                    yield output
        finally:
            # Letting go of the stream is not enough: the engine would write on for nobody.
            if not is_finished and not self._engine.errored:
                await self._engine.abort(request_id)


def continuation_sampling(sampling: Sampling, num_written: int) -> Sampling:
    """The sampling of a request that goes on after `num_written` tokens of a sequence.

    With the seed as it is, every request of a sequence would repeat the draws of the first.
    """
    digest = hashlib.blake2b(f"{sampling.seed}/{num_written}".encode(), digest_size=8).digest()
    return replace(sampling, seed=int.from_bytes(digest, "big") >> 1)


def _sampling_params(opening: Opening, num_written: int, max_new_tokens: int) -> object:
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    sampling = continuation_sampling(opening.sampling, num_written)
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        seed=sampling.seed if sampling.temperature > 0 else None,
        max_tokens=max_new_tokens,
        stop_token_ids=sorted(opening.stop_ids),
        ignore_eos=True,  # where the text ends stands in stop_token_ids
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        logprobs=opening.top_log_probs,
    )


def _scoring_params(read: Sequence[int], last: int, first: int, num_top: int) -> object:
    from vllm import SamplingParams  # noqa: PLC0415
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415

    # Of the prompt's tokens nothing is asked where the last one is all: then its cache is used.
    return SamplingParams(
        temperature=0.0,
        max_tokens=1,
        ignore_eos=True,
        allowed_token_ids=[last],
        prompt_logprobs=num_top if first < len(read) else None,
        logprobs=num_top,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
