"""The paper's search: a regular expression over the context, in bounded time whatever the pattern.

Patterns come from a model and are hostile. What a search may cost is known from pattern and text
before it begins, never decided by a clock: it has the same outcome on any machine, every time.
"""

from dataclasses import replace
from functools import lru_cache
from time import perf_counter_ns
from typing import Any, Final

import re2
from harnessapi.values import Outcome

from harness_retrieval.types import SearchResult

_MAX_MEM_BYTES: Final = 4 << 20
_MAX_COMPILED: Final = 32
# Measured with benchmarks/hostile_searches.py: the worst searches take about a nanosecond a unit,
# 1.5 s; following the groups costs less than an eighth of following the instructions, each.
MAX_WORK: Final = 1_500_000_000
# From here on a search may take some 50 ms.
_COSTLY_WORK: Final = MAX_WORK // 30
_OF_INSTRUCTIONS: Final = 8
# A pattern takes as long to compile as to search so many bytes for it, at worst; and one that is
# given up for its size so long.
_COMPILE_BYTES: Final = 350
_COMPILE_IN_VAIN_NS: Final = 150_000_000


def search_regex(text: str, pattern: str) -> SearchResult:
    """The leftmost match of `pattern` (RE2 syntax) in `text`; neither holds a lone surrogate.

    The result is the first capture group that took part in the match, the whole match where the
    pattern has no group; `start` and `end` are characters. Never raises: INVALID_QUERY where RE2
    refuses the pattern, TOO_COSTLY where `work_per_byte` x bytes of the text is over MAX_WORK.
    """
    started_ns = perf_counter_ns()
    result = _search(text, pattern)
    return replace(result, search_ns=perf_counter_ns() - started_ns)


def work_per_byte(pattern: str) -> int:
    """The most that a search for `pattern` costs a byte of text. Raises re2.error.

    At its slowest RE2 follows every instruction of its program at once, each with the groups that
    it has seen.
    """
    return _work_per_byte(_compile(pattern))


def is_costly(text: str, pattern: str) -> bool:
    """Whether the search may take so long that others should not wait behind it."""
    try:
        return work_per_byte(pattern) * len(text) > _COSTLY_WORK
    except re2.error:
        return False


def regex_work(text: str, pattern: str) -> int:
    """Nanoseconds that compiling and searching take at worst, roughly."""
    try:
        per_byte = work_per_byte(pattern)
    except re2.error:
        return _COMPILE_IN_VAIN_NS
    # Over the limit nothing is searched.
    work = per_byte * len(text)
    return _COMPILE_BYTES * per_byte + (work if work <= MAX_WORK else 0)


def _work_per_byte(regexp: Any) -> int:
    return int(regexp.programsize * (_OF_INSTRUCTIONS + regexp.groups))


def _search(text: str, pattern: str) -> SearchResult:
    try:
        regexp = _compile(pattern)
    except re2.error as error:
        return SearchResult(outcome=Outcome.INVALID_QUERY, detail=_reason(error))
    text_utf8 = text.encode()
    work = _work_per_byte(regexp) * len(text_utf8)
    if work > MAX_WORK:
        detail = (
            f"program of {regexp.programsize} instructions x {len(text_utf8)} bytes "
            f"x ({_OF_INSTRUCTIONS} + {regexp.groups} groups) is {work}, over {MAX_WORK}"
        )
        return SearchResult(outcome=Outcome.TOO_COSTLY, detail=detail)
    match = regexp.search(text_utf8)
    if match is None:
        return SearchResult(outcome=Outcome.NOT_FOUND)
    groups = (match.span(group) for group in range(1, regexp.groups + 1))
    first, end = next((span for span in groups if span[0] >= 0), match.span())
    try:
        found = text_utf8[first:end].decode()
        start = first if text.isascii() else len(text_utf8[:first].decode())
    except UnicodeDecodeError:
        detail = r"the match begins or ends within a character (\C is a byte)"
        return SearchResult(outcome=Outcome.INVALID_QUERY, detail=detail)
    return SearchResult(outcome=Outcome.FOUND, text=found, start=start, end=start + len(found))


# Each may grow to _MAX_MEM_BYTES as it is searched for; compiling takes some twenty microseconds.
@lru_cache(maxsize=_MAX_COMPILED)
def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = _MAX_MEM_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern.encode(), options)
    finally:
        re2.purge()  # the module would keep 128 of its own


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else "refused"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
