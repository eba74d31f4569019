"""The clusters that ``bench engine`` runs: one for each value, or two."""

from dataclasses import dataclass, field
from importlib import metadata
import json
import os
from pathlib import Path
from statistics import median
import sys
import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc.bench.cpu_time import Watch, Window
from byteps_gc.bench.peers.worker_timing import RESULT
from byteps_gc.cluster import supervisor
from byteps_gc.cluster.namespaces import Namespace, NamespaceHosts
from byteps_gc.cluster.roles import LOOPBACK, Cluster, environment
from byteps_gc.errors import ClusterError

WORKERS = 2
MANY_WORKERS = 8
LIMIT = 150  # seconds for one cluster
COMPUTE = 0.008  # seconds of one core that a worker computes in a step
FIRST_BATCH = 256  # with which it is tried how long a step is
FEWER = 10  # times fewer steps are asked of stock BytePS, which takes so much longer
HOST_PORT = 1234  # of the scheduler, in a network that nobody else is in
MIN_COMPRESS_BYTES = 1024000  # the guide's

WORKER = (sys.executable, "-m", "byteps_gc.bench.engine.worker")
STEP = (sys.executable, "-m", "byteps_gc.bench.engine.training_step")

Values = Dict[str, float]


@dataclass(frozen=True)
class Plan:
    """How much each experiment does, and where.

    logs: a folder for the roles' logs; batch: a worker's, in a step; static: whether the net has static memory; sizes:
    elements of each array that is exchanged; on_hosts: whether two workers exchange between hosts made of namespaces,
    instead of on loopback.
    """

    logs: Path
    steps: int
    rounds: int
    idle_seconds: float
    servers_per_host: int
    batch: int = 0
    static: bool = False
    sizes: Sequence[int] = ()
    on_hosts: bool = False


@dataclass(frozen=True)
class Side:
    """An engine. ``folder`` holds its package ``byteps``; None for the one that is installed."""

    name: str
    folder: Optional[Path] = None

    def base(self, **variables: str) -> Dict[str, str]:
        """What its roles inherit."""
        env = dict(os.environ, **variables)
        if self.folder:
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self.folder), env.get("PYTHONPATH")]))
        return env

    def version(self) -> Optional[str]:
        """Its wheel's version, which ends with the key of what went into it; None if none is there."""
        path = [str(self.folder)] if self.folder else sys.path
        return next((one.version for one in metadata.distributions(name="byteps", path=path)), None)


@dataclass
class Job:
    """Roles that run to their end: what they measured themselves, and a watch on what is measured from outside.

    limit: seconds after which it is given up; counts: see :class:`Watch`.
    """

    roles: Sequence[supervisor.Role]
    logs: Path
    limit: float = LIMIT
    counts: Callable[[], Sequence[int]] = tuple
    results: List[dict] = field(default_factory=list)

    def run(self, ready: Optional[Callable[[], bool]] = None) -> "Job":
        """Start the roles, the others when the first is ``ready``, and wait for their end. :class:`ClusterError`."""
        deadline = time.monotonic() + self.limit

        def tick() -> None:
            if time.monotonic() > deadline:
                workers = self.watch.workers
                raise ClusterError(f"a cluster of {workers} workers was still running after {self.limit:.0f} seconds")

        supervision = supervisor.Supervisor(self.logs, self.take_line, tick)
        self.watch = Watch(
            sum(role.is_worker for role in self.roles),
            lambda: {one.role.name: one.process.pid for one in supervision.running},
            self.counts,
        )
        with supervisor.secured(self.roles) as roles:
            supervision.run(roles, ready)
        return self

    def take_line(self, name: str, line: str) -> None:
        """Take a line that a role has printed."""
        self.watch.take_line(line)
        if line.startswith(RESULT):
            self.results.append(json.loads(line[len(RESULT) :]))


def on_loopback(
    side: Side, plan: Plan, command: Sequence[object], workers: int = WORKERS, servers: int = 1, **variables: str
) -> Job:
    """Run a cluster on loopback."""
    roles = supervisor.job(workers, servers, [*map(str, command)], base=side.base(**variables))
    port = int(roles[0].env["DMLC_PS_ROOT_PORT"])
    return Job(roles, plan.logs).run(lambda: supervisor.listens(LOOPBACK, port))


def roles_on(
    hosts: Sequence[Namespace],
    serve: Sequence[object],
    work: Sequence[object],
    base: Dict[str, str],
    interface: str = "",
    servers_per_host: int = 1,
) -> List[supervisor.Role]:
    """A scheduler on the first host, and servers and a worker on each.

    serve: what scheduler and servers run; work: what workers run.
    """
    count = len(hosts)
    cluster = Cluster(count, count * servers_per_host, scheduler=hosts[0].address, port=HOST_PORT)

    def role(
        name: str, index: int, kind: str, command: Sequence[object], worker: Optional[int] = None
    ) -> supervisor.Role:
        host = hosts[index % count]
        env = environment(cluster, kind, worker, host.address, interface, neighbours=count, base=base)
        return supervisor.Role(name, host.command(command), env)

    roles = [role("scheduler", 0, "scheduler", serve)]
    roles += [role(f"server-{index}", index, "server", serve) for index in range(cluster.servers)]
    return roles + [role(f"worker-{index}", index, "worker", work, index) for index in range(count)]


def on_hosts(side: Side, plan: Plan, command: Sequence[object]) -> Job:
    """Run a cluster between hosts with a worker and servers each."""
    with NamespaceHosts(WORKERS) as hosts:
        work = [*supervisor.BPSLAUNCH, *command]
        roles = roles_on(hosts, supervisor.BPSLAUNCH, work, side.base(), servers_per_host=plan.servers_per_host)
        return Job(roles, plan.logs).run()


def idle(side: Side, plan: Plan, found: Values) -> None:
    """Percent of a core that a cluster takes whose workers wait; also of each role."""
    window = on_loopback(side, plan, [*WORKER, "idle", "--seconds", plan.idle_seconds]).watch.window()
    percent = {f"idle_core_percent_{name}": 100 * spent / window.seconds for name, spent in window.cpu.items()}
    found.update(percent, idle_core_percent=sum(percent.values()), idle_others_seconds=window.others)


def step_command(steps: int, batch: int, static: bool) -> List[object]:
    """What a worker runs."""
    return [*STEP, "--steps", steps, "--batch", batch, *(["--static"] if static else [])]


def step(side: Side, plan: Plan, found: Values) -> None:
    """Time and CPU time of the cluster for a step, and the CPU time that others took meanwhile."""
    steps = max(1, plan.steps // FEWER) if side.folder else plan.steps
    command = step_command(steps, plan.batch, plan.static)
    window = on_loopback(side, plan, command, OMP_NUM_THREADS="1").watch.window()
    found["step_wall_seconds"], found["step_cpu_seconds"] = window.seconds / steps, window.total / steps
    found["step_others_seconds"] = window.others / steps


def process_alone(logs: Path, batch: int, steps: int, static: bool, threads: int, policy: str) -> Window:
    """What one process takes to train without BytePS."""
    command = [*step_command(steps, batch, static), "--alone"]
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY=policy)
    return Job([supervisor.Role("worker-alone", [*map(str, command)], env)], logs).run().watch.window()


def batch_of_a_step(logs: Path, steps: int, static: bool) -> int:
    """The batch with which a worker computes about COMPUTE seconds in a step."""
    batch = FIRST_BATCH
    for _ in range(2):
        taken = process_alone(logs, batch, steps, static, 1, "PASSIVE").seconds / steps
        batch = max(1, round(batch * COMPUTE / taken))
    return batch


def step_alone(plan: Plan, found: Values) -> None:
    """The same of one process: with the batches of all workers on as many threads, and with one's on one.

    Threads that wait for each other are faster where they spin, and take less CPU time where they sleep, as those of
    the cluster's roles do: the former is tried both ways, and the better time and CPU time count.
    """
    ways = (("_spin", WORKERS, "ACTIVE"), ("_sleep", WORKERS, "PASSIVE"), ("_one_batch", 1, "PASSIVE"))
    for ending, workers, policy in ways:
        window = process_alone(plan.logs, plan.batch * workers, plan.steps, plan.static, workers, policy)
        found[f"step_wall_seconds{ending}"] = window.seconds / plan.steps
        found[f"step_cpu_seconds{ending}"] = window.total / plan.steps
        found[f"step_others_seconds{ending}"] = window.others / plan.steps
    for name in ("step_wall_seconds", "step_cpu_seconds"):
        found[name] = min(found[f"{name}_spin"], found[f"{name}_sleep"])


def exchange(side: Side, plan: Plan, found: Values) -> None:
    """The first exchange, and the median of the others: each as long as its slowest worker's."""
    command = [*WORKER, "exchange", "--sizes", json.dumps(plan.sizes), "--rounds", plan.rounds]
    if plan.on_hosts:
        job = on_hosts(side, plan, command)
    else:
        job = on_loopback(side, plan, command, servers=WORKERS * plan.servers_per_host)
    slowest = [max(times) for times in zip(*(result["rounds"] for result in job.results))]
    found["exchange_seconds"] = median(slowest)
    found["exchange_seconds_fastest"], found["exchange_seconds_slowest"] = min(slowest), max(slowest)
    found["init_seconds"] = max(result["init"] for result in job.results)


def server(side: Side, plan: Plan, found: Values) -> None:
    """CPU seconds a round of a server of few workers and of many."""
    for workers in (WORKERS, MANY_WORKERS):
        command = [*WORKER, "server", "--sizes", json.dumps(plan.sizes), "--rounds", plan.rounds]
        variables = {"OMP_NUM_THREADS": "1", "BYTEPS_MIN_COMPRESS_BYTES": str(MIN_COMPRESS_BYTES)}
        window = on_loopback(side, plan, command, workers, **variables).watch.window()
        found[f"server_seconds_{workers}"] = window.cpu["server-0"] / plan.rounds


# What each adds to what a round has found of a side, and the keys that are reported of it.
EXPERIMENTS: Dict[str, Tuple[Callable[[Side, Plan, Values], None], Tuple[str, ...]]] = {
    "idle": (idle, ("idle_core_percent",)),
    "step": (step, ("step_wall_ratio", "step_cpu_ratio")),
    "exchange": (exchange, ("exchange_seconds", "init_seconds")),
    "server": (server, ("server_ratio_8_to_2",)),
}
KEYS = tuple(key for _, keys in EXPERIMENTS.values() for key in keys)
