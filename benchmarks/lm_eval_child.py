"""Log-likelihoods as lm-evaluation-harness finds them, in its own environment.

    python lm_eval_child.py BASE_URL MODEL TOKENIZER PAIRS [CHECKPOINT]

PAIRS is a file of [context, continuation]; with CHECKPOINT lm-eval's `hf` model is asked too. The
last line of standard output is JSON: [[sum, is_greedy], ...] for each.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI


def main() -> None:
    """Asks both."""
    base_url, model, tokenizer, file, *checkpoint = sys.argv[1:]
    pairs = [tuple(pair) for pair in json.loads(Path(file).read_text())]
    found = {
        "ids": _ask(_over_http(base_url, model, tokenizer, tokenized_requests=True), pairs),
        "texts": _ask(_over_http(base_url, model, tokenizer, tokenized_requests=False), pairs),
    }
    if checkpoint:
        found["hf"] = _ask(HFLM(pretrained=checkpoint[0], device="cpu", dtype="float32"), pairs)
    print(json.dumps(found))


def _over_http(base_url: str, model: str, tokenizer: str, **options: Any) -> Any:
    return LocalCompletionsAPI(
        base_url=f"{base_url}/completions",
        model=model,
        tokenizer=tokenizer,
        tokenizer_backend="huggingface",
        batch_size=8,
        **options,
    )


def _ask(model: Any, pairs: list[tuple[str, ...]]) -> list[Any]:
    sums: list[Any] = model.loglikelihood([SimpleNamespace(args=pair) for pair in pairs])
    return sums


if __name__ == "__main__":
    main()
