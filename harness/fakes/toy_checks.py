"""What the toy refuses, each by a name, so that a broken one can leave it out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb

MAX_PROMPT_TOKENS: Final = 1000
MAX_TOP_LOG_PROBS: Final = 5
Check = Callable[[pb.GenerateRequest, Sequence[int]], bool]


def _is_long(request: pb.GenerateRequest, ids: Sequence[int], kind: str) -> bool:
    return len(ids) > MAX_PROMPT_TOKENS and request.WhichOneof("prompt") == kind


# Whether the request is wrong.
CHECKS: Final[Mapping[str, Check]] = {
    "temperature": lambda request, _ids: not request.sampling.temperature >= 0,
    "top_p": lambda request, _ids: (
        request.sampling.HasField("top_p") and not 0 < request.sampling.top_p <= 1
    ),
    "max_new_tokens": lambda request, _ids: (
        request.stopping.HasField("max_new_tokens") and request.stopping.max_new_tokens < 1
    ),
    "stop": lambda request, _ids: "" in request.stopping.stop,
    "prompt": lambda request, _ids: request.WhichOneof("prompt") is None,
    "empty": lambda request, ids: not ids and request.WhichOneof("prompt") is not None,
    "long_ids": lambda request, ids: _is_long(request, ids, "token_ids"),
    "long_text": lambda request, ids: _is_long(request, ids, "text"),
    "top_log_probs": lambda request, _ids: request.top_log_probs > MAX_TOP_LOG_PROBS,
}
