"""A sample: a problem with its context, named by the address that it is a pure function of."""

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from harnessapi.values import Mode

from harness.steps import Answer, Step, Thought
from harness.way import Prompting, Way

_NOTHING: Final[Mapping[str, str | int]] = {}


class Split(StrEnum):
    """Train and test share no sample: the address says which, and half of the space is each's."""

    TRAIN = "train"
    TEST = "test"

    @classmethod
    def of(cls, context: str) -> "Split":
        """The split that this context belongs to, the same in any process."""
        digest = hashlib.blake2b(context.encode(), digest_size=1).digest()
        return cls.TEST if digest[0] & 1 else cls.TRAIN


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

    def random_of_block(self, block: int) -> random.Random:
        """One for a block of indices: the same for the address of each of its samples."""
        start, _, _ = self.key.rpartition("/index=")
        return _seeded(f"{start}/block={block}")

    def random(self, attempt: int = 0) -> random.Random:
        """A generator seeded from the whole address: nearby seeds and indices share nothing."""
        return _seeded(f"{self.key}/attempt={attempt}")


def _seeded(text: str) -> random.Random:
    digest = hashlib.sha256(text.encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


class Problem(ABC):
    """What a sample was drawn as: all that is read of it is written from this.

    A frozen dataclass for each kind. What is asked is part of it.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def text(self) -> str:
        """The context, without the words that it begins with in every sample of its task."""

    @property
    def question(self) -> str:
        """What is asked; empty where the context alone is the question."""
        return ""

    @property
    @abstractmethod
    def target(self) -> str:
        """The right answer."""

    @property
    def metadata(self) -> Mapping[str, str | int]:
        """What else is known of the question."""
        return _NOTHING

    @property
    def depths(self) -> Sequence[float]:
        """Where in the context each thing asked for stands, 0 (its begin) to 1; () if nowhere."""
        return ()

    def drawn_question(self, _generator: random.Random, /) -> "Problem | None":
        """The same context, its question drawn: for those that draw it after the context.

        None where nothing can be asked: another context is drawn.
        """
        return self

    def siblings(self) -> Sequence["Problem"]:
        """Every question that can be asked about the context, this one too."""
        return (self,)

    def false_twin(self, _generator: random.Random, /) -> "Problem | None":
        """The same question about a false context, in which another answer is right.

        As like the true context as can be: a lying search looks through it. None where there is no
        such, or the problem knows of none.
        """
        return None

    def thought(self) -> str:
        """The chain of thought of a perfect model."""
        raise NotImplementedError

    def regex_searches(self) -> Iterable[Step]:
        """Its searches by regular expressions, and what it notes between them."""
        raise NotImplementedError

    def dense_searches(self) -> Iterable[Step]:
        """Its searches by likeness."""
        raise NotImplementedError

    def steps(self, way: Way) -> Iterator[Step]:
        """The completion that a perfect model would write, with what its searches insert."""
        if way.prompting is Prompting.COT:
            yield Thought(text=self.thought())
        elif way.prompting is Prompting.SEARCH:
            is_regex = way.retrieval is Mode.REGEX
            yield from self.regex_searches() if is_regex else self.dense_searches()
        yield Answer(text=self.target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One question about one context, and the right answer."""

    address: Address
    context: str
    problem: Problem

    @property
    def question(self) -> str:
        """What is asked; may be empty."""
        return self.problem.question

    @property
    def target(self) -> str:
        """The right answer."""
        return self.problem.target

    @property
    def metadata(self) -> Mapping[str, str | int]:
        """What else is known of it."""
        return self.problem.metadata

    @property
    def depths(self) -> Sequence[float]:
        """Where in its context each thing asked for stands; see Problem."""
        return self.problem.depths

    def siblings(self) -> list["Sample"]:
        """Every question that can be asked about the context, the sample's own too.

        For training, where one context can teach many answers. Not addressed, never evaluated.
        """
        return [replace(self, problem=problem) for problem in self.problem.siblings()]

    def false_twin(self) -> "Sample | None":
        """What a lying search looks through, the same whenever it is asked; its target is the lie.

        None where its problem has none. Raises ValueError for one that is true, or asks otherwise.
        """
        # Of a generator of its own: the sample is drawn from that of attempt 0.
        problem = self.problem.false_twin(self.address.random(attempt=1))
        if problem is None:
            return None
        if problem.question != self.question or problem.target == self.target:
            raise ValueError(
                f"the false twin of {self.address.key} asks {problem.question!r} and answers "
                f"{problem.target!r}: the same question and another answer are wanted"
            )
        heading = self.context.removesuffix(self.problem.text)
        return replace(self, context=f"{heading}{problem.text}", problem=problem)

    def steps(self, way: Way) -> Iterator[Step]:
        """Its worked completion, with searches that find what is there."""
        return self.problem.steps(way)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """A worked problem as earlier turns of a conversation."""

    asked: str
    # Its completion as one message, with what its searches insert.
    reply: str
    # The same where what is inserted is a message of its own: by turns the model's and the user's.
    turns: tuple[str, ...]


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
    # In the place of a result; None: what the model's search channel says.
    failed: str | None = None
    # Where a model that goes on by itself would begin the next problem.
    stops: tuple[str, ...] = ()
    # Written language: a model that is made for conversation may be given it as a message.
    is_language: bool = False
    # The same prompt as a conversation: what was said before, and the last message, which asks.
    exchanges: tuple[Exchange, ...] = ()
    asked: str | None = None

    @property
    def least_words(self) -> int:
        """Words that a model is given in any case, as a text or as a conversation."""
        if self.asked is None:
            return len(self.text.split())
        said = [text for one in self.exchanges for text in (one.asked, one.reply)]
        return min(len(text.split()) for text in (self.text, " ".join([*said, self.asked])))

    def word_result(self, result: str) -> str:
        """What is inserted for a result."""
        return f"{self.result_start}{result}{self.result_end}"
