"""The environment: the values of the variables in :data:`byteps_gc.variables.TABLE`, checked."""

import os
from pathlib import Path
import sys
from typing import Dict, List, Optional

from byteps_gc import variables
from byteps_gc.errors import SettingsError

MIN_COMPRESS_BYTES = variables.TABLE["BYTEPS_MIN_COMPRESS_BYTES"].default
PARTITION_BYTES = variables.TABLE["BYTEPS_PARTITION_BYTES"].default

CLUSTER = ("DMLC_NUM_WORKER", "DMLC_NUM_SERVER", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT")

# of the engine: how long it waits for a process that is silent, and for all to arrive
TIMEOUTS = ("BYTEPS_GC_DEATH_TIMEOUT", "BYTEPS_GC_START_TIMEOUT")


def text(name: str, default: str = "") -> str:
    """The variable's value, or ``default`` where it is unset or empty."""
    return os.environ.get(name) or default


def integer(name: str, default: Optional[int] = None, most: Optional[int] = None) -> int:
    """A variable of the table as an integer; :class:`SettingsError` for a value that it does not accept.

    default: instead of the table's; most: a limit below the table's, which depends on other variables.
    """
    kind = variables.TABLE[name]
    value = variables.check_value(name, text(name))
    if not value:
        return kind.default if default is None else default
    if most is not None and int(value) > most:
        raise SettingsError(f"{name}={value} is not an integer from {kind.least} to {most}")
    return int(value)


def timeout(name: str) -> int:
    """One of TIMEOUTS, in seconds."""
    return integer(name)


def check() -> None:
    """Check all variables of the table: :class:`SettingsError` for the first value that cannot be used.

    Those that are empty are removed, because the engine would read 0.
    """
    variables.check(os.environ)
    for name in list(variables.empty(os.environ)):
        del os.environ[name]


def warn_of_misspelled() -> None:
    """Print a line for each variable that looks like a misspelled one of this package."""
    for name, near in variables.misspelled(os.environ):
        print(f"byteps_gc: warning: unknown variable {name} is ignored; did you mean {near}?", file=sys.stderr)


def check_steps() -> int:
    """BYTEPS_GC_CHECK_STEPS: steps between two comparisons of the workers' parameters; 0 for none."""
    return integer("BYTEPS_GC_CHECK_STEPS")


def devices() -> List[str]:
    """NVIDIA_VISIBLE_DEVICES: the devices of this worker, each of which has a process; none without GPUs."""
    return [name for name in text("NVIDIA_VISIBLE_DEVICES").split(",") if name.strip()]


def setting() -> Dict[str, int]:
    """What the environment says of the numbers that a job computes, wherever it runs."""
    return {
        "workers": integer("DMLC_NUM_WORKER") * integer("BYTEPS_LOCAL_SIZE", max(1, len(devices()))),
        "min_compress_bytes": min_compress_bytes(),
        "partition_bytes": partition_bytes(),
    }


def partition_bytes() -> int:
    """BYTEPS_PARTITION_BYTES: the size of a partition of a tensor."""
    return integer("BYTEPS_PARTITION_BYTES")


def min_compress_bytes() -> int:
    """BYTEPS_MIN_COMPRESS_BYTES: tensors of fewer bytes (as float32) travel dense."""
    return integer("BYTEPS_MIN_COMPRESS_BYTES")


def distributed() -> bool:
    """Whether a worker exchanges with servers: what a worker alone does not send is not compressed either."""
    return integer("DMLC_NUM_WORKER") > 1 or bool(integer("BYTEPS_FORCE_DISTRIBUTED"))


def check_cluster(role: str) -> None:
    """Check the environment of a role: :class:`SettingsError` for a value that cannot be used, or one that is missing.

    A single worker without servers needs none of CLUSTER.
    """
    check()
    workers = integer("DMLC_NUM_WORKER")
    if role == "worker":
        integer("DMLC_WORKER_ID", most=workers - 1)
        integer("BYTEPS_LOCAL_RANK", most=integer("BYTEPS_LOCAL_SIZE") - 1)
        if not distributed():
            return
    missing = [name for name in CLUSTER if not text(name)]
    if missing:
        raise SettingsError(
            f"a {role} needs {', '.join(missing)} in its environment; python -m byteps_gc launch sets them"
        )
    if not integer("DMLC_NUM_SERVER"):
        raise SettingsError(f"DMLC_NUM_SERVER=0: a job of {workers} workers needs at least one server")


def secret_file() -> Optional[Path]:
    """BYTEPS_GC_SECRET_FILE: the file with the job's secret; None for a job without one."""
    return Path(text("BYTEPS_GC_SECRET_FILE")) if text("BYTEPS_GC_SECRET_FILE") else None


def sanitizer() -> str:
    """BYTEPS_GC_SANITIZE: what the native library is compiled with; thread, or empty."""
    return variables.check_value("BYTEPS_GC_SANITIZE", text("BYTEPS_GC_SANITIZE"))


def cache_folder() -> Path:
    """BYTEPS_GC_CACHE, or byteps_gc in the user's cache folder: built engines live there."""
    cache = text("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return Path(text("BYTEPS_GC_CACHE", str(Path(cache, "byteps_gc"))))
