"""Cells of models that were trained several times, without a run on disk."""

from collections.abc import Callable
from typing import Any

import pytest
from harnessapi.values import ModelDescription, TrainedBy

from harness.runs.metrics import Metrics
from harness.runs.results import CellResult
from harness.scoring.intervals import wilson_interval

MakeCell = Callable[..., CellResult]


@pytest.fixture
def trained_cell(stored: Any) -> MakeCell:
    """Of 200 samples, `correct` are right; `asked` are fields of its cell."""

    def make(name: str, correct: int, *, seed: int | None = 1, **fields: Any) -> CellResult:
        asked = {key: fields.pop(key) for key in [*fields] if key in ASKED}
        endpoint = name if seed is None else f"frontier-{name}-{seed}"
        model = {
            "name": endpoint,
            "family": "RNN",
            "checkpoint_digest": endpoint,
            "num_parameters": 200_000,
            "state_bytes": 1024,
            "trained_by": seed and TrainedBy(recipe="frontier", model=name, seed=seed),
            **fields,
        }
        return CellResult(
            run="r",
            label=endpoint,
            asked=stored.cell(endpoint, **{"size": 16, **asked}),
            model=ModelDescription(**model),
            parameters={"alphabet": 128},
            metrics=Metrics(
                n=200,
                correct=correct,
                accuracy=correct / 200,
                ci95=wilson_interval(correct, 200),
                no_answer=0,
                truncated=0,
                errored=0,
                tokens_per_s=None,
                ttft_ms_p50=None,
                searches_per_sample=None,
                prompt_tokens_per_sample=50,
                generated_tokens_per_sample=3,
            ),
        )

    return make


ASKED = ("task", "size", "prompting", "retrieval", "style", "reading", "filler", "search")
