"""What a kept result says of where it comes from."""

import os
from pathlib import Path
import platform
import subprocess
import time
from typing import Any, Dict, List, Optional

from byteps_gc.report.environment import memory_gib, processor

VARIABLES = ("BYTEPS_", "DMLC_", "OMP_", "MXNET_", "MKL", "OPENBLAS_")


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
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "cores_used": cores,
            "memory_gib": memory_gib(),
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
