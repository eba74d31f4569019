"""Child processes: started so that none outlives its parent, waited for, and stopped."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Iterator, Optional, Sequence, Tuple

from byteps_gc.clock import PollingClock

POLL = 0.05  # seconds between two looks at a condition
KILL_TIMEOUT = 5.0  # seconds to wait for a process after SIGKILL
PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29

_libc = ctypes.CDLL(None, use_errno=True)


def tied() -> Callable[[], None]:
    """Return a ``preexec_fn`` for a child that this thread starts now: the kernel kills it when this thread ends.

    The child also ends if its parent has ended before the kernel knew.
    """
    parent = os.getpid()

    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay the handlers of SIGINT, SIGTERM and SIGHUP: Python ignores exceptions in code that runs at a fork.

    Handlers run in the main thread only; in another thread, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in received:
        handlers[number](number, None)


def popen(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a child that ends with this thread at the latest; ``options`` go to Popen."""
    with uninterrupted():
        return subprocess.Popen(command, preexec_fn=tied(), **options)


def wait_until(done: Callable[[], bool], seconds: Optional[float] = None) -> bool:
    """Poll until ``done()`` is true; return False if ``seconds`` of :class:`PollingClock` have passed before."""
    clock = PollingClock()
    while not done():
        if seconds is not None and clock.seconds() > seconds:
            return False
        time.sleep(POLL)
    return True


def wait_all(children: Sequence[subprocess.Popen]) -> int:
    """Wait until all children have exited with status 0, or one has failed; return 0 or its :func:`exit_status`."""

    def failed() -> Optional[int]:
        return next((child.returncode for child in children if child.poll()), None)

    wait_until(lambda: failed() is not None or all(child.poll() == 0 for child in children))
    return exit_status(failed() or 0)


def exit_status(returncode: int) -> int:
    """Return the exit status that a shell reports for a child's ``returncode``."""
    return returncode if returncode >= 0 else 128 - returncode


def stop(children: Sequence[subprocess.Popen], grace: float, groups: bool = True) -> None:
    """Stop children, also suspended ones: send SIGTERM, and after ``grace`` seconds SIGKILL; 0: SIGKILL at once.

    groups: whether each child leads a process group, all of which is stopped.
    """
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_TIMEOUT)):
        if not seconds:
            continue
        alive = [child for child in children if child.poll() is None or groups and group_alive(child.pid)]
        for child in alive:
            for sent in (number, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, sent) if groups else child.send_signal(sent)
        wait_until(lambda alive=alive: all(child.poll() is not None for child in alive), seconds)


def group_alive(group: int) -> bool:
    """Return whether a process group has a process left."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def communicate(child: subprocess.Popen, groups: bool = False) -> Tuple[Any, Any]:
    """Return the output and errors of a child that ends; :func:`stop` it if this call is interrupted."""
    try:
        return child.communicate()
    except BaseException:
        stop([child], grace=0, groups=groups)
        raise


def output_of(command: Sequence[str], **options: Any) -> Tuple[int, str]:
    """Run a command until it ends, or this call is interrupted; return its status and output."""
    with popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as child:
        text, _ = communicate(child)
    return child.returncode, text


def last_line(text: str, otherwise: str = "no output") -> str:
    """Return the last line of a command's output, for a message; ``otherwise`` if there is none."""
    return (text.strip().splitlines() or [otherwise])[-1]


def tolerate_late_wakeups(microseconds: int = 200) -> None:
    """Let the kernel end the sleeps of this thread, and of threads that it starts, some microseconds late.

    For stock BytePS, whose polling loops sleep for one microsecond: with a slack of a fraction of a millisecond, tens
    of thousands of wake-ups per second become a few thousand, and it is more than twice as fast on two cores.
    """
    _libc.prctl(PR_SET_TIMERSLACK, microseconds * 1000, 0, 0, 0)


def exit_on_sigterm() -> None:
    """Turn SIGTERM and SIGHUP into ``SystemExit``, so that ``finally`` clauses run."""

    def leave(number, frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, leave)
