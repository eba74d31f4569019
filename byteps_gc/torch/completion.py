"""One thread that notices which exchanges are done, so that no thread of the engine enters Python."""

import contextlib
import os
import signal
import socket
import threading
from typing import Any, Callable, Dict, Optional, Sequence

from byteps_gc.core import engine, session
from byteps_gc.errors import ExchangeError

Done = Callable[[Optional[Exception]], None]


class Outcome:
    """The end of something that another thread does."""

    def __init__(self) -> None:
        self._error: Optional[Exception] = None
        self._over = threading.Event()

    def done(self, error: Optional[Exception]) -> None:
        """Note the end; called in another thread."""
        self._error = error
        self._over.set()

    def is_over(self) -> bool:
        """Return whether it has ended."""
        return self._over.is_set()

    def synchronize(self) -> None:
        """Wait, in slices, so that Ctrl-C interrupts it; raise its error."""
        while not self._over.wait(engine.SLICE):
            pass
        if self._error:
            raise self._error


class Completions:
    """Calls back for each exchange when it is done, in a thread of its own; what a callback raises is printed.

    Autograd waits for DDP's futures in C++, where Python cannot handle Ctrl-C: this thread notices it, and ends the
    exchanges that are under way with an error.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: Dict[int, Done] = {}  # by ticket; by a number below 0 without an exchange
        self._watched = 0
        self._signals = Signals()
        self._thread = threading.Thread(target=self._run, name="byteps_gc completions", daemon=True)
        self._thread.start()

    def exchange(self, exchanges: Sequence[engine.Exchange], keep: Any, done: Done) -> None:
        """Begin an exchange, and call ``done`` with None or its error when it is done."""
        with self._changed:
            if not self._pending:
                self._signals.interrupted()  # what came before is over
            try:
                ticket = engine.exchange(exchanges, keep, queued=True)
            except Exception as error:
                failure: Optional[Exception] = error
            else:
                failure = None
                self._pending[ticket] = done
                self._changed.notify()
        if failure:
            done(failure)

    def watch(self, done: Done) -> Done:
        """Return ``done`` for one call, which comes with an error if Ctrl-C or a shutdown comes first.

        For what lasts longer than an exchange, or begins before it.
        """
        with self._changed:
            if not self._pending:
                self._signals.interrupted()  # what came before is over
            self._watched -= 1
            number = self._watched
            self._pending[number] = done
            self._changed.notify()

        def once(error: Optional[Exception]) -> None:
            with self._changed:
                found = self._pending.pop(number, None)
            if found:
                found(error)

        return once

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._pending:
                    self._changed.wait()
            ticket = engine.next_done(engine.SLICE)
            if ticket:
                self._finish(ticket)
            elif self._signals.interrupted():
                session.note_failure()
                self._fail("interrupted by Ctrl-C")
            elif not session.is_started():
                self._fail("BytePS has been shut down")

    def _finish(self, ticket: int) -> None:
        with self._changed:
            done = self._pending.pop(ticket, None)
        failure: Optional[Exception] = None
        try:
            engine.poll(ticket)
        except ExchangeError as error:
            failure = error
        if done:
            done(failure)

    def _fail(self, why: str) -> None:
        with self._changed:
            pending, self._pending = self._pending, {}
        for done in pending.values():
            done(ExchangeError(why))


class Signals:
    """Notices SIGINT in any thread, as long as Python's own handler is installed."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
            if before != -1:  # somebody else's
                signal.set_wakeup_fd(before)
            else:
                os.register_at_fork(after_in_child=_stop_noticing)

    def interrupted(self) -> bool:
        """Return whether SIGINT has come since the last call."""
        found = b""
        with contextlib.suppress(BlockingIOError):
            found = self._reader.recv(4096)
        return signal.SIGINT in found and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _stop_noticing() -> None:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.set_wakeup_fd(-1)


_completions: Optional[Completions] = None


def completions() -> Completions:
    """Return this process's only object."""
    global _completions
    if _completions is None:
        _completions = Completions()
    return _completions
