"""The environment of a run: machine, operating system, versions and variables, for its record."""

from importlib import metadata
import os
from pathlib import Path
import platform
import time
from typing import Any, Dict, Mapping

from byteps_gc import __version__

PREFIXES = ("BYTEPS_", "DMLC_", "OMP_")
PRIVATE = ("SECRET", "TOKEN", "PASSWORD")  # in names of variables that are never recorded
PACKAGES = ("mxnet", "mxnet-cu112", "gluoncv", "numpy", "torch", "byteps")


def about() -> Dict[str, Any]:
    """Return date, host, processor, memory, operating system, versions and variables of this process."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)),
        "memory_gib": memory_gib(),
        "system": system(),
        "python": platform.python_version(),
        "packages": {"byteps_gc": __version__, **versions()},
        "variables": variables(os.environ),
    }


def processor() -> str:
    """Return the processor's name as the kernel reports it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gib() -> float:
    """Return the machine's memory in GiB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def system() -> str:
    """Return the name of the operating system, and the kernel's."""
    kernel = f"{platform.system()} {platform.release()}"
    for file in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if file.is_file():
            fields = dict(line.partition("=")[::2] for line in file.read_text().splitlines())
            return f"{fields.get('PRETTY_NAME', '').strip(chr(34))}, {kernel}".lstrip(", ")
    return kernel


def versions() -> Dict[str, str]:
    """Return the versions of the installed packages that a training script uses."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def variables(environ: Mapping[str, str]) -> Dict[str, str]:
    """Return the variables of BytePS, ps-lite and OpenMP, without empty, secret and absolute-path values."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(PREFIXES)
        and value
        and not value.startswith("/")
        and not any(word in name.upper() for word in PRIVATE)
    }
