"""A part of a run that another process may do: of each cell the samples of one remainder."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Of every cell the samples whose index is `number` modulo `of`, counted from 0."""

    number: int
    of: int

    def __post_init__(self) -> None:
        """Raises ValueError for one that does not exist."""
        if not 0 <= self.number < self.of:
            last = f"0/{self.of} to {self.of - 1}/{self.of}" if self.of > 0 else "0/1 alone"
            raise ValueError(f"there is no shard {self}; there are {last}")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`3/16`. Raises ValueError for what is no shard."""
        number, slash, of = text.partition("/")
        if not slash or not all(part.isascii() and part.isdigit() for part in (number, of)):
            raise ValueError(f"'{text}' is no shard: I/N, like 3/16 for index 3 modulo 16")
        return cls(int(number), int(of))

    def __str__(self) -> str:
        """As it is given on the command line."""
        return f"{self.number}/{self.of}"

    def has(self, index: int) -> bool:
        """Whether the sample of this index is of the shard."""
        return index % self.of == self.number

    def among(self, indices: Sequence[int]) -> Sequence[int]:
        """Those of the shard, in their order."""
        if indices == range(len(indices)):
            return range(self.number, len(indices), self.of)
        return [index for index in indices if self.has(index)]
