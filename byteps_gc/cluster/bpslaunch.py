"""``bpslaunch COMMAND``: become the role that DMLC_ROLE names.

A scheduler or a server runs in this process. A worker runs COMMAND once for each device of NVIDIA_VISIBLE_DEVICES, with
BYTEPS_LOCAL_RANK and BYTEPS_LOCAL_SIZE set. If one of these processes fails, the others are stopped, and none outlives
this process.
"""

import ctypes
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Dict, List, Optional, Sequence, Set

from byteps_gc import env
from byteps_gc.cluster import secret
from byteps_gc.cluster.build_version import build_version
from byteps_gc.errors import ClusterError, EngineError, SettingsError, UserError
from byteps_gc.processes import exit_on_sigterm, stop, tied, tolerate_late_wakeups, uninterrupted, wait_all

NODES = Path("/sys/devices/system/node")
SHARED_MEMORY = Path("/dev/shm")


def main(command: Sequence[str]) -> int:
    """Run the role; return the exit status."""
    role = env.text("DMLC_ROLE")
    if role not in ("scheduler", "server", "worker"):
        raise SettingsError(f"DMLC_ROLE={role} is not one of scheduler, server, worker")
    env.check_cluster(role)
    if not env.text("BYTEPS_GC_ROLE"):  # a supervisor has warned already
        env.warn_of_misspelled()
    if secret.of_job() is None and role == "scheduler":
        print(f"byteps_gc: warning: {secret.OPEN}", file=sys.stderr, flush=True)
    os.environ["BYTEPS_GC_BUILD"] = build_version()
    if role != "worker":
        serve()
        return 0
    if not command:
        raise SettingsError("a worker needs a command: bpslaunch python train.py ...")
    return work(list(command))


def serve() -> None:
    """Run this process as the scheduler or a server until the cluster ends."""
    tolerate_late_wakeups()
    library = server_library()
    if env.text("DMLC_ROLE") == "server":
        from byteps_gc import native  # not in the other roles: NumPy takes longer to import than they to start

        native.register("server")
        native.start(env.integer("DMLC_NUM_WORKER"))
    library.byteps_server()


def server_library() -> ctypes.CDLL:
    """Load BytePS's server library; :class:`EngineError` if it is not installed."""
    try:
        import byteps
    except ImportError:
        raise EngineError("BytePS is not installed; build its wheel with python -m byteps_gc engine build") from None
    folder = Path(byteps.__file__).parent / "server"
    libraries = sorted(folder.glob("c_lib*.so"))
    if not libraries:
        raise EngineError(f"{folder} has no server library; see python -m byteps_gc doctor")
    try:
        return ctypes.CDLL(str(libraries[0]), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise EngineError(f"cannot load BytePS's server library: {error}") from None


def local_size() -> int:
    """Return the number of processes of this worker: one for each device of NVIDIA_VISIBLE_DEVICES, at least one."""
    return max(1, len(env.devices()))


def parse_cores(text: str) -> Set[int]:
    """Parse a set of processor numbers in the kernel's list format, such as "0-3,8"."""
    cores: Set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if not first.strip().isdigit() or (last and not last.strip().isdigit()):
            raise SettingsError(f"{text.strip()!r} is not a list of cores such as 0-3,8")
        cores.update(range(int(first), int(last or first) + 1))
    return cores


def cores_of(size: int) -> List[Optional[Set[int]]]:
    """Return the processors of each of ``size`` local ranks; None for a rank that may use all.

    BYTEPS_VISIBLE_CPU_CORES has a list for each rank, separated by colons. Without it, and with BYTEPS_NUMA_ON=1,
    several ranks are spread over the memory nodes in order, and share the processors of their node evenly.
    """
    wanted = env.text("BYTEPS_VISIBLE_CPU_CORES")
    if wanted:
        lists = [parse_cores(part) for part in wanted.split(":")]
        if len(lists) != size:
            raise SettingsError(f"BYTEPS_VISIBLE_CPU_CORES has {len(lists)} lists for {size} local ranks")
        for cores in lists:
            if not cores & os.sched_getaffinity(0):
                raise SettingsError(f"BYTEPS_VISIBLE_CPU_CORES={wanted} has a list without a core of this machine")
        return list(lists)
    if size == 1 or not env.integer("BYTEPS_NUMA_ON"):
        return [None] * size
    allowed = os.sched_getaffinity(0)
    nodes = [parse_cores(file.read_text()) & allowed for file in sorted(NODES.glob("node[0-9]*/cpulist"))]
    nodes = [sorted(cores) for cores in nodes if cores] or [sorted(allowed)]
    shares: List[Optional[Set[int]]] = []
    for rank in range(size):
        node = rank * len(nodes) // size
        ranks = [other for other in range(size) if other * len(nodes) // size == node]
        share = nodes[node][ranks.index(rank) :: len(ranks)]
        shares.append(set(share) or None)
    return shares


def work(command: List[str]) -> int:
    """Run the command once for each local rank; return 0 or the status of the first that fails."""
    size = local_size()
    if size == 1:
        os.environ.update(BYTEPS_LOCAL_RANK="0", BYTEPS_LOCAL_SIZE="1")
        try:
            os.execvp(command[0], command)
        except OSError as error:
            raise ClusterError(f"cannot run {command[0]}: {error.strerror}", 127) from None
    exit_on_sigterm()
    ranks: List[subprocess.Popen] = []
    scope = f"{os.getpid()}_{int(time.time())}"
    try:
        for rank, cores in enumerate(cores_of(size)):
            ranks.append(start_rank(command, rank_environment(rank, size, scope), cores))
        return wait_all(ranks)
    finally:
        stop(ranks, grace=5, groups=False)
        for memory in SHARED_MEMORY.glob(f"byteps_gc_{scope}_*"):  # of a rank that was killed
            memory.unlink()


def rank_environment(rank: int, size: int, scope: str) -> Dict[str, str]:
    """Return the environment of a local rank; a worker's ranks share the names of shared memory and sockets."""
    return dict(os.environ, BYTEPS_LOCAL_RANK=str(rank), BYTEPS_LOCAL_SIZE=str(size), BYTEPS_GC_LOCAL_SCOPE=scope)


def start_rank(command: List[str], variables: Dict[str, str], cores: Optional[Set[int]]) -> subprocess.Popen:
    """Start a local rank, bound to its processors; the kernel kills it when this process ends."""
    tie = tied()

    def prepare() -> None:
        tie()
        if cores:
            os.sched_setaffinity(0, cores)

    try:
        with uninterrupted():
            return subprocess.Popen(command, env=variables, preexec_fn=prepare)
    except OSError as error:
        raise ClusterError(f"cannot run {command[0]}: {error.strerror}", 127) from None


def console() -> int:
    """Run the command ``bpslaunch``."""
    try:
        return main(sys.argv[1:])
    except UserError as error:
        print(f"bpslaunch: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
