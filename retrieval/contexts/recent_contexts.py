"""What is kept of the contexts used last, within bounds: past them, the longest unused goes."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextLimits:
    """Contexts past a limit are forgotten; what the size counts, who keeps them says."""

    max_contexts: int = 4096
    max_total_size: int
    expires_after_s: float = math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry(Generic[_Kept]):
    kept: _Kept
    size: int
    last_use_s: float


class RecentContexts(Generic[_Kept]):
    """By context id. `clock` gives monotonic seconds.

    Thread-safe; hold `lock` over several calls of which nothing may come between.
    """

    def __init__(self, limits: ContextLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._limits = limits
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[_Kept]] = OrderedDict()  # last used at the end
        self._total_size = 0

    def get(self, context_id: str) -> _Kept | None:
        """What is kept of a context, which is used by that; None where nothing is."""
        with self.lock:
            self._forget_expired()
            entry = self._entries.get(context_id)
            if entry is None:
                return None
            self.put(context_id, entry.kept, entry.size)
            return entry.kept

    def put(self, context_id: str, kept: _Kept, size: int) -> None:
        """Keeps this, and forgets what is past the limits: this too where it alone is."""
        with self.lock:
            self.forget([context_id])
            entry = _Entry(kept=kept, size=size, last_use_s=self._clock())
            self._entries[context_id] = entry
            self._total_size += size
            self._forget_expired()
            while (
                len(self._entries) > self._limits.max_contexts
                or self._total_size > self._limits.max_total_size
            ):
                self.forget([next(iter(self._entries))])

    def forget(self, context_ids: Iterable[str]) -> None:
        """Forgets contexts; unknown ones are ignored."""
        with self.lock:
            for context_id in context_ids:
                if entry := self._entries.pop(context_id, None):
                    self._total_size -= entry.size

    @property
    def total_size(self) -> int:
        """Of all that is kept."""
        with self.lock:
            self._forget_expired()
            return self._total_size

    def __len__(self) -> int:
        with self.lock:
            self._forget_expired()
            return len(self._entries)

    def _forget_expired(self) -> None:
        oldest_s = self._clock() - self._limits.expires_after_s
        while self._entries:
            context_id, entry = next(iter(self._entries.items()))
            if entry.last_use_s >= oldest_s:
                return
            self.forget([context_id])
