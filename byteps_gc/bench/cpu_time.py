"""CPU time of other processes, and of a job's roles while its workers do what is measured."""

import collections
import contextlib
import ctypes
import os
from pathlib import Path
import threading
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from byteps_gc.bench.peers.worker_timing import BEGIN, END
from byteps_gc.errors import ClusterError

_libc = ctypes.CDLL(None)


def seconds(pid: int) -> float:
    """The CPU time of a process: user's and system's, of all threads that it has or had; OSError if it is gone.

    It is what /proc/PID/stat says, but not in hundredths.
    """
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it; the children of one that is gone are not found."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in file.read_text().split():
                yield from family(int(child))


def family_seconds(pid: int) -> float:
    """:func:`seconds` of a process and of what descends from it; OSError if the process is gone."""
    total = seconds(pid)
    for child in [*family(pid)][1:]:
        with contextlib.suppress(OSError):
            total += seconds(child)
    return total


def machine_seconds() -> float:
    """The CPU time that all processes of this machine have taken since it started."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split(None, 8)[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Window(NamedTuple):
    """How long what was measured took, the CPU seconds that each role spent on it, and those of the whole machine.

    counts: how much the watch's other numbers grew.
    """

    seconds: float
    cpu: Dict[str, float]
    machine: float
    counts: Tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """The CPU seconds of all roles."""
        return sum(self.cpu.values())

    @property
    def others(self) -> float:
        """The CPU seconds of everything else that ran meanwhile: what may have disturbed."""
        return max(0.0, self.machine - self.total)


class Watch:
    """Hears the workers of a job; its window opens when all have said BEGIN and closes when all have said END.

    workers: how many there are; pids: asked for the job's processes, by their roles' names, which count with their
    children; counts: asked for other numbers that grow, such as bytes.
    """

    def __init__(self, workers: int, pids: Callable[[], Dict[str, int]], counts: Callable[[], Sequence[int]] = tuple):
        self.workers = workers
        self.pids = pids
        self.counts = counts
        self._said: Dict[str, int] = collections.Counter()
        self._marks: List[Window] = []
        self._lock = threading.Lock()

    def take_line(self, line: str) -> None:
        """Take a line that a worker has just printed."""
        if line not in (BEGIN, END):
            return
        with self._lock:
            self._said[line] += 1
            if self._said[line] == self.workers:
                with contextlib.suppress(OSError):  # a role that is gone: the job has failed
                    cpu = {name: family_seconds(pid) for name, pid in self.pids().items()}
                    self._marks.append(Window(time.monotonic(), cpu, machine_seconds(), tuple(self.counts())))

    def window(self) -> Window:
        """What passed between begin and end; :class:`ClusterError` if they were not heard."""
        if len(self._marks) != 2:
            raise ClusterError("the workers did not report when the measurement began and ended")
        first, last = self._marks
        cpu = {name: last.cpu[name] - first.cpu[name] for name in first.cpu}
        counts = tuple(now - before for before, now in zip(first.counts, last.counts))
        return Window(last.seconds - first.seconds, cpu, last.machine - first.machine, counts)
