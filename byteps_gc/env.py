"""Every environment variable that the package reads, with its type, default and range."""

import os
from pathlib import Path
from typing import Dict, List, Optional

from byteps_gc.errors import SettingsError

# BytePS's own defaults (bytes), kept so that both sides of the wire agree.
MIN_COMPRESS_BYTES = 65536
PARTITION_BYTES = 4096000

CLUSTER = ("DMLC_NUM_WORKER", "DMLC_NUM_SERVER", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT")

LONGEST_NAME = 63  # characters of a host's name

# seconds, default and least, that the engine waits: for a process that is silent, and for all to arrive
TIMEOUTS = {"BYTEPS_GC_DEATH_TIMEOUT": (60, 2), "BYTEPS_GC_START_TIMEOUT": (300, 1)}


def text(name: str, default: str = "") -> str:
    """The variable's value, or ``default`` where it is unset or empty."""
    return os.environ.get(name) or default


def integer(name: str, default: int, least: int = 0, most: Optional[int] = None) -> int:
    """The variable as an integer in ``least``..``most``; :class:`SettingsError` otherwise."""
    value = text(name)
    if not value:
        return default
    accepted = f"an integer from {least} to {most}" if most is not None else f"an integer of at least {least}"
    try:
        number = int(value)
    except ValueError:
        raise SettingsError(f"{name}={value} is not {accepted}") from None
    if number < least or (most is not None and number > most):
        raise SettingsError(f"{name}={value} is not {accepted}")
    return number


def timeout(name: str) -> int:
    """One of TIMEOUTS, in seconds."""
    default, least = TIMEOUTS[name]
    return integer(name, default, least=least)


def check_numbers() -> None:
    """:class:`SettingsError` unless each of TIMEOUTS, and every number that all hosts share, is what is accepted."""
    check_steps()
    partition_bytes()
    min_compress_bytes()
    for name in TIMEOUTS:
        timeout(name)


def check_steps() -> int:
    """BYTEPS_GC_CHECK_STEPS: steps between two comparisons of the workers' parameters; 0 for none."""
    return integer("BYTEPS_GC_CHECK_STEPS", 200)


def check_name(name: str) -> None:
    """:class:`SettingsError` if a host's name is longer than what the engine has room for."""
    if len(name) > LONGEST_NAME:
        raise SettingsError(f"host name {name[:20]}... has {len(name)} characters; at most {LONGEST_NAME} are accepted")


def devices() -> List[str]:
    """NVIDIA_VISIBLE_DEVICES: the devices of this worker, each of which has a process; none without GPUs."""
    return [name for name in text("NVIDIA_VISIBLE_DEVICES").split(",") if name.strip()]


def setting() -> Dict[str, int]:
    """What the environment says of the numbers that a job computes, wherever it runs."""
    return {
        "workers": integer("DMLC_NUM_WORKER", 1, least=1) * integer("BYTEPS_LOCAL_SIZE", max(1, len(devices()))),
        "min_compress_bytes": min_compress_bytes(),
        "partition_bytes": partition_bytes(),
    }


def partition_bytes() -> int:
    """BYTEPS_PARTITION_BYTES: the size of a partition of a tensor."""
    return integer("BYTEPS_PARTITION_BYTES", PARTITION_BYTES, least=1)


def min_compress_bytes() -> int:
    """BYTEPS_MIN_COMPRESS_BYTES: tensors of fewer bytes (as float32) travel dense."""
    return integer("BYTEPS_MIN_COMPRESS_BYTES", MIN_COMPRESS_BYTES)


def distributed() -> bool:
    """Whether a worker exchanges with servers: what a worker alone does not send is not compressed either."""
    return integer("DMLC_NUM_WORKER", 1, least=1) > 1 or bool(integer("BYTEPS_FORCE_DISTRIBUTED", 0))


def check_cluster(role: str) -> None:
    """:class:`SettingsError` if the variables that tell a role where its cluster is are not all set.

    A single worker without servers needs none of them.
    """
    workers = integer("DMLC_NUM_WORKER", 1, least=1)
    if role == "worker":
        integer("DMLC_WORKER_ID", 0, most=workers - 1)
        if not distributed():
            return
    check_numbers()
    for name in ("DMLC_PS_ROOT_URI", "DMLC_NODE_HOST"):
        check_name(text(name))
    missing = [name for name in CLUSTER if not text(name)]
    if missing:
        raise SettingsError(
            f"a {role} needs {', '.join(missing)} in its environment; python -m byteps_gc launch sets them"
        )


def secret_file() -> Optional[Path]:
    """BYTEPS_GC_SECRET_FILE: the file with the job's secret; None for a job without one."""
    return Path(text("BYTEPS_GC_SECRET_FILE")) if text("BYTEPS_GC_SECRET_FILE") else None


def sanitizer() -> str:
    """BYTEPS_GC_SANITIZE: what the native library is compiled with; thread, or empty."""
    name = text("BYTEPS_GC_SANITIZE")
    if name not in ("", "thread"):
        raise SettingsError(f"BYTEPS_GC_SANITIZE={name} is neither thread nor empty")
    return name


def cache_folder() -> Path:
    """BYTEPS_GC_CACHE, or byteps_gc in the user's cache folder: built engines live there."""
    cache = text("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(text("BYTEPS_GC_CACHE", str(Path(cache, "byteps_gc"))))
