"""Child processes that never outlive the process that started them."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sig: int = signal.SIGKILL) -> None:
    """Have the kernel send ``sig`` to this process when its parent thread ends.

    For ``preexec_fn``: the setting is kept across ``exec``.
    """
    _libc.prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)


def tolerate_late_wakeups(microseconds: int = 200) -> None:
    """Let the kernel end this thread's sleeps up to so much later, and those of threads it starts.

    BytePS's loops sleep for one microsecond between looks at their queues; a
    slack of a fraction of a millisecond turns tens of thousands of wake-ups a
    second into a few thousand.
    """
    _libc.prctl(PR_SET_TIMERSLACK, microseconds * 1000, 0, 0, 0)


def exit_on_sigterm() -> None:
    """Turn SIGTERM and SIGHUP into ``SystemExit``, so that ``finally`` clauses run."""

    def leave(number, frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
