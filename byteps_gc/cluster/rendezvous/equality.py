"""What must be equal on all hosts of a run, compared when they meet."""

from typing import Dict, Mapping

from byteps_gc import __version__, env
from byteps_gc.cluster.build_version import engine_build
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.variables import TABLE

# the engine's processes compare these, too, see engine/files/settings.h: not all of them are started by run.sh
ENGINE = (
    "BYTEPS_PARTITION_BYTES",
    "BYTEPS_MIN_COMPRESS_BYTES",
    "BYTEPS_GC_CHECK_STEPS",
    "BYTEPS_GC_ENCRYPT",
    "BYTEPS_KEY_HASH_FN",
    "BYTEPS_ENABLE_ASYNC",
)
DERIVED = ("BYTEPS_PARTITION_BYTES", "BYTEPS_KEY_HASH_FN")  # no value means the same as leaving it unset
UNSET = "(unset)"


def settings(host: Host) -> Dict[str, str]:
    """Return what must be equal, as this host has it: each value after the text that names it in a message."""
    return {
        "byteps_gc ": __version__,
        "engine build ": engine_build() or "(none)",
        "BYTEPS_GC_HOSTS=": " ".join(host.hosts),
        "BYTEPS_GC_WORKERS_PER_HOST=": str(host.workers_per_host),
        "BYTEPS_GC_SERVERS_PER_HOST=": str(host.servers_per_host),
        **{f"{name}=": env.text(name, UNSET if name in DERIVED else str(TABLE[name].default)) for name in ENGINE},
    }


def difference(there: str, theirs: Mapping[str, str], here: str, ours: Mapping[str, str]) -> str:
    """Return in one line the first difference between the settings of two hosts; empty if there is none."""
    for name in [*ours, *theirs]:
        values = theirs.get(name, UNSET), ours.get(name, UNSET)
        if values[0] != values[1]:
            return f"{there} has {name}{values[0]}, {here} {values[1]}"
    return ""
