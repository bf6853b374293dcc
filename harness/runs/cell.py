"""A cell of a run: one endpoint asked one task at one size in one way."""

from dataclasses import dataclass

from harness.sample import Prompting, Style
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Everything but the seed and the index that decides what an endpoint is sent."""

    endpoint: str
    task: str
    size: int
    prompting: Prompting
    # None: the search channel is closed.
    retrieval: Mode | None
    style: Style
    max_new_tokens: int

    @property
    def key(self) -> str:
        """Names the cell within its run: endpoint, task, size, prompting, retrieval, style."""
        retrieval = self.retrieval or "none"
        asked = f"{self.task}/size={self.size}/{self.prompting}/{retrieval}/{self.style}"
        return f"{self.endpoint}/{asked}"
