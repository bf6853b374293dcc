"""Asks an endpoint one small question, as an eval would, and tells what was learnt of it."""

from dataclasses import dataclass
from typing import Final

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import Connection
from harness.clients.faults import AttemptError, FilteredError, RefusedError
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.request_options import RequestOptions
from harness.errors import HarnessError, InputError, UnreachableError, shortened
from harness.sample import Prompt, Sample, Split
from harness.tasks import make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt
from harness.way import Style, Way

_TASK: Final = "assoc_recall"
_SIZE: Final = 4
_NUM_EXAMPLES: Final = 2
_MAX_NEW_TOKENS: Final = 64
_DEADLINE_S: Final = 120.0
_MAX_SHOWN: Final = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """What one answer tells; None: it does not."""

    # Whether the server's list has the model; None: it has no list.
    is_listed: bool | None
    # Tokens.
    context_limit: int | None
    num_prompt_tokens: int
    num_generated_tokens: int
    # Whether the server counts tokens; if not, those above are estimates.
    counts_tokens: bool
    # In which the answer came; one: the server does not stream.
    num_pieces: int
    finish_reason: str
    # What the server calls its model in the reply.
    reply_models: tuple[str, ...]
    # Parameters that it does not take.
    refused_parameters: tuple[str, ...]
    # Whether a stop string cuts the answer where it begins.
    takes_stop_strings: bool | None
    # How the answer begins, how the reasoning before it does, and what would be right.
    answer: str
    reasoning: str
    target: str


class _Counting:
    """The Watch that counts what comes."""

    def __init__(self) -> None:
        self.num_heard = 0

    async def sending(self) -> None:
        """At once; what came before belongs to another request."""
        self.num_heard = 0

    def heard(self) -> None:
        """One more."""
        self.num_heard += 1


async def check_endpoint(connection: Connection) -> Learnt:
    """Asks once, and over HTTP once more for the stop strings.

    Raises InputError where the request is refused, UnreachableError where it is not answered.
    """
    sample, prompt = _question(connection)
    request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=_MAX_NEW_TOKENS)
    pieces = _Counting()
    client = connection.client
    try:
        completion = await client.complete(request, timeout_s=_DEADLINE_S, watch=pieces)
    except AttemptError as error:
        raise _failure(connection.endpoint, error) from None
    answer = completion.reply_text
    reasoning = completion.generated_text if not answer.strip() else ""
    model = connection.model
    return Learnt(
        is_listed=model.name in client.listed if client.listed else None,
        context_limit=model.context_limit or model.max_prompt_tokens or None,
        num_prompt_tokens=completion.num_prompt_tokens,
        num_generated_tokens=completion.num_generated_tokens,
        counts_tokens=not completion.are_counts_estimated,
        num_pieces=pieces.num_heard,
        finish_reason=completion.finish_reason,
        reply_models=completion.reply_models,
        takes_stop_strings=await _takes_stops(connection, request, completion),
        refused_parameters=tuple(client.refused),
        answer=shortened(answer, _MAX_SHOWN),
        reasoning=shortened(reasoning, _MAX_SHOWN),
        target=sample.target,
    )


def _question(connection: Connection) -> tuple[Sample, Prompt]:
    task = make_task(_TASK, size=_SIZE)
    sample = task.sample(Split.TEST, 0, 0)
    is_natural = Style.NATURAL in connection.model.styles
    style = Style.NATURAL if is_natural else Style.SYMBOLIC
    examples = worked_examples(task, 0, _NUM_EXAMPLES) if is_natural else ()
    return sample, make_prompt(task, sample, Way(style=style), examples=examples)


def _failure(endpoint: Endpoint, error: AttemptError) -> HarnessError:
    is_refused = isinstance(error, RefusedError | FilteredError)
    kind = InputError if is_refused else UnreachableError
    return kind(f"endpoint '{endpoint.name}' ({endpoint.place}): {error}")


async def _takes_stops(
    connection: Connection, request: CompletionRequest, first: Completion
) -> bool | None:
    """Asks again, to stop at a word of the first answer. Servers of ours always do."""
    endpoint = connection.endpoint
    if endpoint.external is None:
        return True
    text = first.reply_text
    words = text.split()
    if "stop" in connection.client.refused or len(words) < 2:
        return False if "stop" in connection.client.refused else None
    # Here and not at the top: who asks nobody over HTTP does not wait for its library.
    from harness.clients.openai.openai_client import ExternalClient  # noqa: PLC0415

    stop = words[len(words) // 2]
    options = RequestOptions(extra_body={"stop": [stop]}).over(endpoint.request)
    address = connection.replicas.first.address or endpoint.address or ""
    client = ExternalClient(address, endpoint.external, None, options)
    client.refused.update(connection.client.refused)
    try:
        second = await client.complete(request, timeout_s=_DEADLINE_S)
    except AttemptError:
        return None
    finally:
        await client.close()
    if "stop" in client.refused:
        connection.client.refused["stop"] = client.refused["stop"]
        return False
    before = text.partition(stop)[0]
    if second.reply_text.strip() in {before.strip(), f"{before}{stop}".strip()}:
        # Some leave the stop string in: then the answer has to have gone on behind it.
        return len(second.reply_text.strip()) < len(text.strip())
    return False if stop in second.reply_text else None
