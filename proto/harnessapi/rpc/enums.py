"""The enums of the wire as those of `harnessapi.values`: by name, so that no list stands twice."""

from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from harnessapi.inference.v1 import inference_pb2
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.values import FinishReason, Mode, Outcome, Part

_Member = TypeVar("_Member", bound=StrEnum)


class WireEnum(Generic[_Member]):
    """Between the members of `kind` and the numbers of `wire`, whose names begin with `prefix`."""

    def __init__(self, kind: type[_Member], wire: Any, prefix: str) -> None:
        self._numbers: dict[_Member, Any] = {
            member: wire.Value(f"{prefix}_{member.name}") for member in kind
        }
        self._members = {number: member for member, number in self._numbers.items()}

    def number(self, member: _Member) -> Any:
        """The number of a member."""
        return self._numbers[member]

    def member(self, number: int) -> _Member | None:
        """None for a number that is unspecified, or not known here."""
        return self._members.get(number)

    def listed(self) -> str:
        """`1 (regex), 2 (dense)`: for messages that say what there is."""
        return ", ".join(f"{number} ({member})" for member, number in self._numbers.items())


MODES: Final = WireEnum(Mode, retrieval_pb2.RetrievalMode, "RETRIEVAL_MODE")
OUTCOMES: Final = WireEnum(Outcome, retrieval_pb2.SearchOutcome, "SEARCH_OUTCOME")
PARTS: Final = WireEnum(Part, inference_pb2.Channel, "CHANNEL")
FINISH_REASONS: Final = WireEnum(FinishReason, inference_pb2.FinishReason, "FINISH_REASON")
