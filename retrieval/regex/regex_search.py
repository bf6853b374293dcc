"""The paper's search: a regular expression over the context, in bounded time whatever the pattern.

Patterns come from a model and are hostile. Time is bounded by what the pattern and the text are,
never by a clock, so a search gives the same result on any machine, every time.
"""

from time import perf_counter_ns
from typing import Any

import re2

from harness_retrieval.regex.regex_cost import bounded_cost
from harness_retrieval.text import well_formed
from harness_retrieval.types import Outcome, SearchResult

MAX_PATTERN_CHARACTERS = 1024
MAX_MEM_BYTES = 4 << 20
# Measured on one core: RE2 without its automaton takes 5 to 8 ns an instruction and byte: 24 ms.
_MAX_DIRECT_WORK = 3_000_000
# Measured: finding groups takes 3 to 4 ns a thread, byte and (2 + groups): 12 ms.
_MAX_CAPTURE_WORK = 3_000_000

_Span = tuple[int, int]


def search_regex(text: str, pattern: str) -> SearchResult:
    """The leftmost match of `pattern` (RE2 syntax) in `text`.

    The result is the first capture group that took part in the match, the whole match where the
    pattern has no group; `start` and `end` are characters. Never raises: INVALID_QUERY where RE2
    refuses the pattern, TOO_COSTLY where it may take more than 50 ms on a million characters.
    """
    started_ns = perf_counter_ns()
    outcome, detail, span = _find(text_utf8 := well_formed(text).encode(), well_formed(pattern))
    search_ns = perf_counter_ns() - started_ns
    if span is None:
        return SearchResult(outcome=outcome, detail=detail, search_ns=search_ns)
    found = text_utf8[span[0] : span[1]].decode()
    start = span[0] if text.isascii() else len(text_utf8[: span[0]].decode())
    return SearchResult(
        outcome=Outcome.FOUND,
        text=found,
        start=start,
        end=start + len(found),
        search_ns=perf_counter_ns() - started_ns,
    )


def _find(text: bytes, pattern: str) -> tuple[Outcome, str, _Span | None]:
    if not pattern:
        return Outcome.INVALID_QUERY, "the pattern is empty", None
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        detail = f"the pattern has {len(pattern)} characters, over {MAX_PATTERN_CHARACTERS}"
        return Outcome.INVALID_QUERY, detail, None
    try:
        regexp = _compile(pattern, never_capture=False)
    except re2.error as error:
        return Outcome.INVALID_QUERY, _reason(error), None
    if regexp.programsize * len(text) * (1 + regexp.groups) <= _MAX_DIRECT_WORK:
        return _answer(regexp.search(text))
    return _find_in_automaton(text, pattern, regexp)


def _find_in_automaton(text: bytes, pattern: str, regexp: Any) -> tuple[Outcome, str, _Span | None]:
    """For long texts: the match by RE2's automaton alone, then the groups inside the match."""
    cost = bounded_cost(pattern)
    if cost is None:
        return Outcome.TOO_COSTLY, "the pattern can reach too many states for this context", None
    if not regexp.groups:
        return _answer(regexp.search(text))
    match = _compile(pattern, never_capture=True).search(text)
    if match is None:
        return _answer(None)
    start, end = match.span()
    if cost.max_threads * (end - start) * (2 + regexp.groups) > _MAX_CAPTURE_WORK:
        return Outcome.TOO_COSTLY, f"the match is {end - start} bytes long, with groups in it", None
    return _answer(regexp.fullmatch(text, start, end))


def _answer(match: Any) -> tuple[Outcome, str, _Span | None]:
    if match is None:
        return Outcome.NOT_FOUND, "", None
    groups = (match.span(group) for group in range(1, match.re.groups + 1))
    return Outcome.FOUND, "", next((span for span in groups if span[0] >= 0), match.span())


def _compile(pattern: str, *, never_capture: bool) -> Any:
    options = re2.Options()
    options.max_mem = MAX_MEM_BYTES
    options.log_errors = False
    options.never_capture = never_capture
    return re2.compile(pattern.encode(), options)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "refused"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
