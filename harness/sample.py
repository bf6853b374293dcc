"""A sample: prompt, target and metadata, named by the address that it is a pure function of."""

import hashlib
import random
from dataclasses import dataclass, field
from enum import StrEnum


class Prompting(StrEnum):
    """How the answer is asked for: at once, after a chain of thought, or with searches."""

    DIRECT = "direct"
    COT = "cot"
    SEARCH = "search"


class Style(StrEnum):
    """The alphabet of a prompt: the short one of our checkpoints, or natural language."""

    SYMBOLIC = "symbolic"
    NATURAL = "natural"


class Split(StrEnum):
    """Train and test share no sample: the address says which, and half of the space is each's."""

    TRAIN = "train"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Names one sample for good: the same address gives the same bytes in any process."""

    task: str
    parameters: tuple[tuple[str, int], ...]
    split: Split
    seed: int
    index: int

    @property
    def key(self) -> str:
        """The address on one line: `assoc_recall/size=16/test/seed=0/index=3`."""
        parameters = ",".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.task}/{parameters}/{self.split}/seed={self.seed}/index={self.index}"

    @classmethod
    def from_key(cls, key: str) -> "Address":
        """The inverse of `key`. Raises ValueError for a text that is none."""
        task, parameters, split, seed, index = key.split("/")
        pairs = (pair.split("=") for pair in parameters.split(",") if pair)
        return cls(
            task=task,
            parameters=tuple((name, int(value)) for name, value in pairs),
            split=Split(split),
            seed=int(seed.removeprefix("seed=")),
            index=int(index.removeprefix("index=")),
        )

    def random(self, attempt: int = 0) -> random.Random:
        """A generator seeded from the whole address: nearby seeds and indices share nothing."""
        digest = hashlib.sha256(f"{self.key}/attempt={attempt}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question about one context, and the right answer."""

    address: Address
    context: str
    question: str
    target: str
    metadata: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A piece of a worked completion: written by the model, or inserted by its search."""

    text: str
    inserted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A worded sample: the text that is sent, and how a client that runs the channel goes on."""

    text: str
    # What searches look through besides the completion; None: all of the text.
    searched: str | None = None
    # Between two pieces of text: words are joined by a space, written language joins itself.
    joint: str = " "
    # Around what a search inserts.
    result_start: str = ""
    result_end: str = ""
    # Where a model that goes on by itself would begin the next problem.
    stops: tuple[str, ...] = ()

    def word_result(self, result: str) -> str:
        """What is inserted for a result."""
        return f"{self.result_start}{result}{self.result_end}"
