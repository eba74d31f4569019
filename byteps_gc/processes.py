"""Child processes that never outlive the process that started them."""

import ctypes
import os
import signal
import sys
from typing import Callable

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def tied() -> Callable[[], None]:
    """A ``preexec_fn`` for a child that this thread starts now: the kernel kills it when this thread ends.

    It also ends if that has happened before it could ask for it.
    """
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def exit_on_sigterm() -> None:
    """Turn SIGTERM and SIGHUP into ``SystemExit``, so that ``finally`` clauses run."""

    def leave(number, frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
