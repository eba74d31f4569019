"""Processes of tests: found by a mark in their environment, wherever they are and whoever their parent is now."""

import contextlib
from dataclasses import dataclass
import os
from pathlib import Path
import subprocess
import threading
import time
from typing import Callable, Iterable, Iterator, List, Optional

ROLE = "BYTEPS_GC_ROLE="


@dataclass(frozen=True)
class Process:
    """A process id, the namespace of its network, its command line, and its role if it is a role's first process."""

    pid: int
    space: str
    words: str
    role: Optional[str]


def processes(mark: str = "") -> Iterator[Process]:
    """All processes that run, or those of them that have ``mark``, as NAME=VALUE, in their environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if (not mark or mark in variables) and state != "Z":
                roles = [one[len(ROLE) :] for one in variables if one.startswith(ROLE)]
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                space = os.readlink(folder / "ns" / "net")
                role = roles[0] if roles and group == folder.name else None
                yield Process(int(folder.name), space, words, role)


def role(name: str, among: Callable[[], Iterable[Process]], seconds: float = 60) -> Process:
    """The role's first process, once ``among()`` has it; LookupError after ``seconds`` without it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in among():
            if process.role == name:
                return process
        time.sleep(0.05)
    raise LookupError(f"{name} does not run")


def rest_of_output(child: subprocess.Popen, seconds: float) -> str:
    """What a process whose first lines have been read still prints, when it has ended.

    Popen.communicate() loses the lines that readline() has read ahead. Raises subprocess.TimeoutExpired.
    """
    found: List[str] = []
    reader = threading.Thread(target=lambda: found.append(child.stdout.read()), daemon=True)
    deadline = time.monotonic() + seconds
    reader.start()
    reader.join(seconds)
    if reader.is_alive():
        raise subprocess.TimeoutExpired(child.args, seconds)
    child.wait(max(deadline - time.monotonic(), 0.1))
    return found[0]
