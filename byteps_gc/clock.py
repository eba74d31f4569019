"""Time as a process lives through it."""

import time


class PollingClock:
    """Counts seconds for code that looks again and again whether something has come.

    A machine may stand still for a minute, with all that runs on it. Nothing can have come meanwhile, so the time
    between two looks counts for ``most`` seconds at most.
    """

    def __init__(self, most: float = 1.0):
        self._most = most
        self._last = time.monotonic()
        self._seconds = 0.0

    def seconds(self) -> float:
        """Seconds since this clock was made."""
        now = time.monotonic()
        self._seconds += min(now - self._last, self._most)
        self._last = now
        return self._seconds
