"""The pieces of worked completions: a query, what is found, the answer."""

from collections.abc import Iterable

from harness.sample import Segment
from harness.tasks import vocabulary as words


def query(text: str) -> Segment:
    """A search for `text`."""
    return Segment(text=f"{words.SEARCH_START} {text} {words.SEARCH_END}")


def found(text: str) -> Segment:
    """What the search inserts."""
    return Segment(text=text, inserted=True)


def answer(target: str) -> Segment:
    """The marked answer, and the end."""
    return Segment(text=f"{words.ANSWER} {target} {words.EOS}")


def chain(thought: str, target: str) -> tuple[Segment, ...]:
    """A chain of thought and its answer, in one piece."""
    return (Segment(text=f"{thought} {answer(target).text}"),)


def joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The same completion with neighbouring pieces that the model writes put together."""
    pieces: list[Segment] = []
    for segment in segments:
        if pieces and not pieces[-1].inserted and not segment.inserted:
            pieces[-1] = Segment(text=f"{pieces[-1].text} {segment.text}")
        else:
            pieces.append(segment)
    return tuple(pieces)
