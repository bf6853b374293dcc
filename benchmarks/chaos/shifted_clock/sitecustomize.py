"""Python reads this before a program where this folder is in PYTHONPATH: the clock goes back.

What our own modules are told by `time.time`, `time.time_ns` and `datetime.now` is so many seconds
less, once a file is there. gRPC computes deadlines from its own readings of the
clock, which would then not agree with the kernel's as they do where the clock is really set.
"""

import datetime
import os
import sys
import time
from typing import Any

_BACK_S = float(os.environ["CHAOS_CLOCK_BACK_S"])
_WHEN = os.environ["CHAOS_CLOCK_WHEN"]
_OURS = ("harness", "harnessapi", "harness_servers", "harness_retrieval")
_time, _time_ns, _now = time.time, time.time_ns, datetime.datetime.now


def _back_s() -> float:
    """For whoever called the caller of this."""
    module = sys._getframe(2).f_globals.get("__name__", "")
    is_ours = module.partition(".")[0] in _OURS
    return _BACK_S if is_ours and os.path.exists(_WHEN) else 0.0


class _Datetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _now(tz) - datetime.timedelta(seconds=_back_s())


time.time = lambda: _time() - _back_s()
time.time_ns = lambda: _time_ns() - int(_back_s() * 1000000000.0)
datetime.datetime = _Datetime  # type: ignore[misc]
