"""The only place where a clock is read."""

from __future__ import annotations

import time

# The life of a permit goes on while the machine sleeps, so the clock must, too:
# BOOTTIME on Linux; MONOTONIC elsewhere (macOS counts sleep in it).
_CLOCK_ID: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now() -> float:
    """Seconds on a clock that never jumps and runs through suspend."""
    if _CLOCK_ID is None:
        return time.monotonic()
    return time.clock_gettime(_CLOCK_ID)


def wall() -> float:
    """Seconds since 1970; only to read an HTTP date."""
    return time.time()
