"""Why a process of a job has ended: from its status, from what it printed last, and from the kernel."""

from pathlib import Path
import re
import signal
from typing import Optional, Sequence

from byteps_gc.report.logs import LONGEST

# what Python, NumPy, C++, MXNet and CUDA print
MEMORY = re.compile(
    r"^([\w.]*MemoryError\b|MXNetError: .*(Memory allocation failed|Failed to allocate|out of memory))"
    r"|std::bad_alloc|cudaErrorMemoryAllocation|cudaMalloc.* failed: out of memory"
)
# of ps-lite, whose lines are otherwise like those of errors, and of BytePS
FATAL = (re.compile(r"\[[\d:]+\] \S+: \[[\d:]+\] (\S+:\d+): (.+)"), re.compile(r"\[[\d:. -]+ F (\S+:\d+)\] (.+)"))
OURS = "byteps: "  # in front of what the engine's own files print before they end a process
CGROUPS = Path("/proc/self/cgroup")
MEMORY_CGROUPS = (
    ("/sys/fs/cgroup", "memory.events"),  # version 2
    ("/sys/fs/cgroup/memory", "memory.oom_control"),
)
MACHINE = Path("/proc/vmstat")


def oom_kills() -> Optional[int]:
    """Return how many processes of this one's cgroup, or of the machine, the kernel has killed for memory.

    None where neither can be read.
    """
    paths = {line.rpartition(":")[2].strip("/") for line in content(CGROUPS).splitlines()}
    inner_first = sorted(paths | {""}, key=len, reverse=True)
    for file in [*(Path(root, path, name) for root, name in MEMORY_CGROUPS for path in inner_first), MACHINE]:
        found = re.search(r"^oom_kill (\d+)$", content(file), re.MULTILINE)
        if found:
            return int(found[1])
    return None


def content(file: Path) -> str:
    """Return the text of a file of the kernel; empty if it cannot be read."""
    try:
        return file.read_text()
    except OSError:
        return ""


def of_kill(before: Optional[int]) -> str:
    """Return what is known of a SIGKILL, for a message. ``before``: :func:`oom_kills` when the job began."""
    now = oom_kills()
    if before is None or now is None:
        return ", often sent by the kernel's out-of-memory killer"
    return ": out of memory, the kernel's out-of-memory killer has run" if now > before else ""


def of_lines(lines: Sequence[str]) -> str:
    """Return the cause that a failed process printed, for a message; empty if its lines have none that is known."""
    for line in reversed(lines):
        if MEMORY.search(line):
            return f": out of memory ({line.strip()[:LONGEST]})"
        for fatal in FATAL:
            found = fatal.match(line)
            if found:
                return f": {found[2][:LONGEST]} ({found[1].rpartition('/')[2]})"
        if line.startswith(OURS):
            return f": {line[len(OURS) :]}"
    return ""


def ending(state: int, lines: Sequence[str], kills: Optional[int]) -> str:
    """Return how a process ended, for a message.

    state: as Popen has it; lines: the last that it printed; kills: :func:`oom_kills` when the job began.
    """
    number = -state if state < 0 else state - 128 if state == 128 + signal.SIGKILL else 0
    how = f"was killed by {signal.Signals(number).name}" if number else f"failed with status {state}"
    return how + (of_kill(kills) if number == signal.SIGKILL else of_lines(lines))
