"""Why a process of a job ended, found in its status, its last output, and the kernel's counters."""

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
# of ps-lite, whose other lines look like errors as well, and of BytePS
FATAL = (re.compile(r"\[[\d:]+\] \S+: \[[\d:]+\] (\S+:\d+): (.+)"), re.compile(r"\[[\d:. -]+ F (\S+:\d+)\] (.+)"))
OURS = "byteps: "  # prefix of the engine's own messages before it ends a process
CGROUPS = Path("/proc/self/cgroup")
MEMORY_CGROUPS = (
    ("/sys/fs/cgroup", "memory.events"),  # version 2
    ("/sys/fs/cgroup/memory", "memory.oom_control"),
)
MACHINE = Path("/proc/vmstat")


def oom_kills() -> Optional[int]:
    """Return how many processes of this cgroup, or of the machine, the kernel's out-of-memory killer has killed.

    None if neither can be read.
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
    """Return the likely cause of a SIGKILL, for a message. ``before``: :func:`oom_kills` when the job began."""
    now = oom_kills()
    if before is None or now is None:
        return ", often sent by the kernel's out-of-memory killer"
    return ": out of memory, the kernel's out-of-memory killer has run" if now > before else ""


def of_lines(lines: Sequence[str]) -> str:
    """Return the cause in the output of a failed process, for a message; empty if none is known."""
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

    state: Popen's return code; lines: the last lines of output; kills: :func:`oom_kills` when the job began.
    """
    number = -state if state < 0 else state - 128 if state == 128 + signal.SIGKILL else 0
    how = f"was killed by {signal.Signals(number).name}" if number else f"failed with status {state}"
    return how + (of_kill(kills) if number == signal.SIGKILL else of_lines(lines))
