"""The texts that a server is asked: of the styles that it reads, shortest first."""

from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import Mode

from harness.clients.completion import CompletionRequest
from harness.clients.grpc_client import plain_request
from harness.sample import Split
from harness.tasks import make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt
from harness.way import Prompting, Style, Way

_TASK: Final = "assoc_recall"
_SIZE: Final = 2
_NUM_EXAMPLES: Final = 3
# Tokens that a completion with a search may have.
_NUM_SEARCH_TOKENS: Final = 32
_LANGUAGE: Final = "One, two, three, four, five,"
# For vocabularies of who knows what.
_LAST: Final = ("a b c a b c", "a", "1", "A")


def texts_for(model: pb.GetModelResponse) -> list[str]:
    """First what the model says that it reads."""
    task = make_task(_TASK, size=_SIZE)
    symbolic = make_prompt(task, task.sample(Split.TEST, 0, 0), Way.parse("direct")).text
    first = [_LANGUAGE, symbolic] if Style.NATURAL in model.styles else [symbolic, _LANGUAGE]
    return [*first, *_LAST]


def searching_requests(model: pb.GetModelResponse, mode: Mode) -> list[pb.GenerateRequest]:
    """Prompts that promise a search, as `harness eval` sends them, for each style of the model."""
    task = make_task(_TASK, size=_SIZE)
    requests = []
    for style in Style:
        if style not in model.styles:
            continue
        way = Way(prompting=Prompting.SEARCH, retrieval=mode, style=style)
        is_natural = style is Style.NATURAL
        examples = worked_examples(task, 0, _NUM_EXAMPLES) if is_natural else ()
        for index in range(2):
            sample = task.sample(Split.TEST, 0, index)
            asked = CompletionRequest(
                prompt=make_prompt(task, sample, way, examples=examples),
                mode=mode,
                max_new_tokens=_NUM_SEARCH_TOKENS,
            )
            is_chat = is_natural and model.has_chat_template
            requests.append(plain_request(asked, is_chat=is_chat))
    return requests
