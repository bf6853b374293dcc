"""A cell of a run: one endpoint asked one task at one size in one way."""

from dataclasses import dataclass, field

from harnessapi.values import Mode, ModelDescription

from harness.way import Prompting, Reading, SearchArm, Style, Way


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
    # Of the task, those that were given: the others have its defaults.
    parameters: dict[str, int] = field(default_factory=dict, hash=False)
    reading: Reading = Reading.ONCE
    filler: int = 0
    # Of a cell that searches.
    search: SearchArm = SearchArm.HONEST

    # So many samples of the run's are asked: its task has no more that differ. None: all of them.
    samples: int | None = None
    # And of those so many in a run that is a shard.
    shard_samples: int | None = None

    @property
    def way(self) -> Way:
        """How it is asked."""
        return Way(
            prompting=self.prompting,
            retrieval=self.retrieval,
            style=self.style,
            reading=self.reading,
            filler=self.filler,
            search=self.search,
        )

    @property
    def task_label(self) -> str:
        """The task for people: `needle`, `needle keys=4 values=2`."""
        given = (f"{name}={value}" for name, value in sorted(self.parameters.items()))
        return " ".join([self.task, *given])

    @property
    def label(self) -> str:
        """The cell for people: `rnn-rag assoc_recall 16 search dense`."""
        return f"{self.endpoint} {self.task_label} {self.size} {self.way.name}"

    def is_trained(self, model: ModelDescription) -> bool | None:
        """Whether the model was trained on the task; None where it does not say what it was."""
        if self.style is not Style.SYMBOLIC or not model.trained_tasks:
            return None
        return self.task in model.trained_tasks

    def trained_contexts(self, model: ModelDescription) -> int | None:
        """About how many contexts of the task it was trained to answer in this way.

        Training knows no arms: those of a way have its count. None where the model does not say
        how much it was trained on.
        """
        if self.is_trained(model) is None or not model.trained_on:
            return None
        way = Way(prompting=self.prompting, retrieval=self.retrieval, style=self.style)
        asked = (self.task, way.name)
        return sum(one.contexts for one in model.trained_on if (one.task, one.way) == asked)

    @property
    def key(self) -> str:
        """Names the cell within its run: `rnn/needle/keys=4,size=16/search/regex/symbolic`."""
        given = sorted({**self.parameters, "size": self.size}.items())
        parameters = ",".join(f"{name}={value}" for name, value in given)
        return f"{self.endpoint}/{self.task}/{parameters}/{self.way.key}"
