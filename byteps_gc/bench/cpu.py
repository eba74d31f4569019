"""CPU time of other processes, and of a job's roles while its workers do what is measured."""

import collections
import contextlib
import ctypes
import os
from pathlib import Path
import threading
import time
from typing import Callable, Dict, List, NamedTuple

from byteps_gc.errors import ClusterError

# what a worker prints around what is measured
BEGIN = "bench: begin"
END = "bench: end"

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


def machine_seconds() -> float:
    """The CPU time that all processes of this machine have taken since it started."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split(None, 8)[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Window(NamedTuple):
    """How long what was measured took, the CPU seconds that each role spent on it, and those of the whole machine."""

    seconds: float
    cpu: Dict[str, float]
    machine: float

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

    workers: how many there are; pids: asked for the job's processes, by their roles' names.
    """

    def __init__(self, workers: int, pids: Callable[[], Dict[str, int]]):
        self.workers = workers
        self.pids = pids
        self._said: Dict[str, int] = collections.Counter()
        self._marks: List[Window] = []
        self._lock = threading.Lock()

    def hear(self, line: str) -> None:
        """Take a line that a worker has just printed."""
        if line not in (BEGIN, END):
            return
        with self._lock:
            self._said[line] += 1
            if self._said[line] == self.workers:
                with contextlib.suppress(OSError):  # a role that is gone: the job has failed
                    cpu = {name: seconds(pid) for name, pid in self.pids().items()}
                    self._marks.append(Window(time.monotonic(), cpu, machine_seconds()))

    def window(self) -> Window:
        """What passed between begin and end; :class:`ClusterError` if they were not heard."""
        if len(self._marks) != 2:
            raise ClusterError("the workers did not say when what is measured began and ended")
        first, last = self._marks
        cpu = {name: last.cpu[name] - first.cpu[name] for name in first.cpu}
        return Window(last.seconds - first.seconds, cpu, last.machine - first.machine)
