"""What a kept result says of where it comes from."""

import os
from pathlib import Path
import platform
import subprocess
import time
from typing import Any, Dict, List, Optional

VARIABLES = ("BYTEPS_", "DMLC_", "OMP_", "MXNET_", "MKL", "OPENBLAS_")


def processor() -> str:
    """The processor's name, as the kernel has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> Optional[str]:
    """The commit of this package's working tree, marked "-dirty" if files differ; None outside of a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=str(Path(__file__).parent), capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None


def about(cores: List[int]) -> Dict[str, Any]:
    """Date, commit, machine, Python and the variables that change what runs, which are not those that are paths.

    cores: the processors it runs on.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "cores_used": cores,
            "memory_gib": round(memory, 1),
        },
        "python": platform.python_version(),
        "environment": {
            name: value
            for name, value in os.environ.items()
            if name.startswith(VARIABLES) and not value.startswith("/")
        },
    }


def host(about: Dict[str, Any]) -> str:
    """The machine that :func:`about` tells of, for people."""
    machine = about["machine"]
    return f"{len(machine['cores_used'])} cores of {machine['processor']}, {machine['memory_gib']:.0f} GiB"


def line(about: Dict[str, Any]) -> str:
    """What :func:`about` says, for people."""
    return f"{about['date'][:10]}, commit {about['commit']}, {host(about)}, Python {about['python']}"
