"""Child processes that never outlive the process that started them."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import Any, Callable, Iterator, Sequence, Tuple

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29

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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off the handlers of SIGINT, SIGTERM and SIGHUP: a fork may run Python code that ignores what they raise.

    Handlers run in the main thread only, so elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in came:
        handlers[number](number, None)


def popen(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a child that ends with this thread at the latest; ``options`` go to Popen."""
    with uninterrupted():
        return subprocess.Popen(command, preexec_fn=tied(), **options)


def output_of(command: Sequence[str], **options: Any) -> Tuple[int, str]:
    """Run a command to its end, which is that of this call at the latest; return its status and what it printed."""
    with popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as child:
        try:
            text, _ = child.communicate()
        except BaseException:
            child.kill()
            raise
    return child.returncode, text


def last_line(text: str, otherwise: str = "no output") -> str:
    """Return the last line of what a command printed, for a message; ``otherwise`` if it printed nothing."""
    return (text.strip().splitlines() or [otherwise])[-1]


def tolerate_late_wakeups(microseconds: int = 200) -> None:
    """Let the kernel end this thread's sleeps up to so much later, and those of threads it starts.

    For BytePS as released, whose loops sleep for one microsecond between looks
    at their queues: a slack of a fraction of a millisecond turns tens of
    thousands of wake-ups a second into a few thousand, which makes it more
    than twice as fast on two cores.
    """
    _libc.prctl(PR_SET_TIMERSLACK, microseconds * 1000, 0, 0, 0)


def exit_on_sigterm() -> None:
    """Turn SIGTERM and SIGHUP into ``SystemExit``, so that ``finally`` clauses run."""

    def leave(number, frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
