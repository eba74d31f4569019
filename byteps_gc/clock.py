"""A clock for polling loops, which stops while the machine is suspended."""

import time


class PollingClock:
    """Counts seconds for polling loops.

    A machine may be suspended for a minute, with all processes on it. Nothing can have happened meanwhile, so the time
    between two calls of :meth:`seconds` counts as at most ``most`` seconds.
    """

    def __init__(self, most: float = 1.0):
        self._most = most
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """Return the seconds since this clock was made."""
        now = time.monotonic()
        self._seconds += min(now - self._last, self._most)
        self._last = now
        return self._seconds
