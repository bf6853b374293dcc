"""One row of a result: a cell of a run, its figures, and what the model says of itself."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from harnessapi.values import ModelDescription

from harness.runs.cell import Cell
from harness.runs.chance import chance_of
from harness.runs.metrics import Metrics
from harness.runs.waits import WAITS
from harness.scoring.bound import bits_needed, recall_bound
from harness.tasks.vocabulary import WORDS
from harness.way import Reading

# Tasks that ask for one of `size` values, each drawn evenly: from `alphabet` words, and from all.
_RECALL: Final = "assoc_recall"
_INDEX: Final = "index"


@dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """A row of a scoreboard or a report."""

    run: str
    asked: Cell
    model: ModelDescription
    metrics: Metrics
    seed: int = 0
    # Of the task, as the samples' addresses have them; empty where there is no sample.
    parameters: Mapping[str, int] = field(default_factory=dict)
    # Its run among several, counted from 1.
    number: int = 1
    # The endpoint's name, with the run where the name alone would mean two things.
    label: str = ""

    @property
    def way(self) -> str:
        """How it was asked, for people."""
        return self.asked.way.name

    @property
    def weights(self) -> tuple[str, int, str]:
        """Of the same weights fewer bits of state, or a cache that keeps less, make another model.

        0 bits: of all of it; an empty policy: as the model has it.
        """
        model = self.model
        return model.checkpoint_digest, model.state_bits, model.cache_policy

    @property
    def state_bytes(self) -> float | None:
        """What the state takes at the end of a sample of mean length; None where unknown."""
        metrics, model = self.metrics, self.model
        lengths = (
            metrics.prompt_tokens_per_sample,
            metrics.generated_tokens_per_sample,
            metrics.inserted_tokens_per_sample,
        )
        grown = model.state_bytes_per_token * sum(length or 0.0 for length in lengths)
        return (model.state_bytes + grown) or None

    @property
    def bound(self) -> float | None:
        """At most so much recall is possible with that state; None where no bound is known."""
        words = self.num_words
        if words is None or self.state_bytes is None:
            return None
        return recall_bound(8 * self.state_bytes, self.asked.size, words)

    @property
    def bits_shown(self) -> float | None:
        """The state carried at least so many bits, by the lower end of the interval."""
        words = self.num_words
        if words is None or not self.metrics.n:
            return None
        return bits_needed(self.metrics.ci95[0], self.asked.size, words)

    @property
    def chance(self) -> float | None:
        """What the best simple guess reaches; None where it is not known."""
        return chance_of(self.asked, self.asked.size)

    @property
    def is_untrained(self) -> bool:
        """The model says what it was trained on, and the task is not among that."""
        return self.asked.is_trained(self.model) is False

    @property
    def trained_on(self) -> int | None:
        """See Cell.trained_contexts."""
        return self.asked.trained_contexts(self.model)

    @property
    def num_words(self) -> int | None:
        """The words that each value of the context is one of; None where no bound is known.

        A search reads the context again: no bound on the state is one on the answer then.
        """
        if self.asked.retrieval is not None:
            return None
        # Whoever knows the question first has one value to keep, not all of them.
        if self.asked.reading is Reading.QUESTION_FIRST:
            return None
        if self.asked.task == _INDEX:
            return len(WORDS)
        return self.parameters.get("alphabet") if self.asked.task == _RECALL else None

    def as_json(self) -> dict[str, Any]:
        """The keys are a contract (docs/scoring.md has what they are)."""
        asked, metrics = self.asked, self.metrics
        row = {
            "run": self.run,
            "endpoint": asked.endpoint,
            "family": self.model.family,
            "task": asked.task,
            "size": asked.size,
            "task_parameters": asked.parameters,
            "prompting": asked.prompting.value,
            "retrieval": asked.retrieval.value if asked.retrieval else None,
            "style": asked.style.value,
            "reading": asked.reading.value,
            "filler": asked.filler,
            "search": asked.search.value if asked.retrieval else None,
            "trained": asked.is_trained(self.model),
            **asdict(metrics),
            "tokens_per_s": _rounded(metrics.tokens_per_s),
            **{name: _rounded(getattr(metrics, name)) for name in WAITS},
            "seed": self.seed,
            "parameters": self.model.num_parameters,
            "state_bytes": None if self.state_bytes is None else round(self.state_bytes),
            "bound": self.bound,
            "bits_shown": self.bits_shown,
            "trained_on": self.trained_on,
            "chance": self.chance,
            "trained_by": self.model.trained_by and asdict(self.model.trained_by),
        }
        return {key: finite(value) for key, value in row.items()}


def finite(value: Any) -> Any:
    """The same without infinities and NaN, which JSON has not: null is in their place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    return [finite(one) for one in value] if isinstance(value, list | tuple) else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
