"""The contestants of ``bench peers``: the roles that each needs to exchange a model's gradients between hosts."""

from dataclasses import dataclass, field
import json
import math
from pathlib import Path
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc import env
from byteps_gc.bench.engine.clusters import HOST_PORT, MIN_COMPRESS_BYTES, WORKER, Side, roles_on
from byteps_gc.bench.model_gradients import Shape
from byteps_gc.cluster import supervisor
from byteps_gc.cluster.namespaces import LINK, Namespace
from byteps_gc.cluster.roles import omp_threads

BENCH = Path(__file__).parent
KVSTORE = (sys.executable, "-m", "byteps_gc.bench.peers.kvstore_worker")
KVSTORE_SERVER = (
    sys.executable,
    "-c",
    "import byteps_gc.before_mxnet; import mxnet",
)  # which serves until the job is over
DDP = BENCH / "ddp_worker.py"
HOROVOD = BENCH / "horovod_worker.py"
TORCH_PORT = HOST_PORT + 1  # of torch's rendezvous
GROUPS = ("systems", "torch")


@dataclass(frozen=True)
class Plan:
    """What is exchanged: a model's gradients, for ``rounds`` rounds after ``warm_up`` rounds that do not count."""

    shapes: Sequence[Shape]
    warm_up: int
    rounds: int

    @property
    def words(self) -> Dict[str, Any]:
        """Return the plan as the peers' programs get it."""
        return {"shapes": self.shapes, "warm_up": self.warm_up, "rounds": self.rounds}


@dataclass(frozen=True)
class Places:
    """Where what a contestant needs lies: stock BytePS, and Pythons.

    pytorch: with an old PyTorch; horovod: with Horovod; torch: with PyTorch 2 and this package.
    """

    released: Optional[Path] = None
    pytorch: Optional[Path] = None
    horovod: Optional[Path] = None
    torch: Optional[Path] = None


Roles = List[supervisor.Role]


@dataclass(frozen=True)
class Goal:
    """How long a round may take: ``times`` its link's limit, but at least ``least`` seconds; at ``rate``, or at any."""

    times: float
    least: float = 0.0
    rate: str = ""

    def seconds(self, rate: str, limit: Optional[float]) -> Optional[float]:
        """Return the goal at a rate whose limit is ``limit`` seconds; None if there is no goal."""
        if limit is None or self.rate not in ("", rate):
            return None
        return max(self.times * limit, self.least)


DENSE_GOAL = Goal(1.1)
SPARSE_GOAL = Goal(2.0, least=0.02, rate="100mbit")


@dataclass(frozen=True, eq=False)
class Peer:
    """A contestant: what makes its roles, with these options.

    needs: a field of :class:`Places`, if any; warm_up: its first rounds that are not like the others; goal: for the
    time of a round, if any. By what follows its rounds are planned: share: of the gradients' bytes, what it exchanges,
    about, but all of those of fewer than an option's ``least``; busy: seconds of a round that it takes however fast the
    links are.
    """

    name: str
    make: Callable[..., Roles]
    options: Dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    warm_up: int = 1
    share: float = 1.0
    busy: float = 0.0
    goal: Optional[Goal] = None

    @property
    def group(self) -> str:
        """The group of contestants that it belongs to, one of GROUPS."""
        return "torch" if self.needs == "torch" else "systems"

    def roles(self, hosts: Sequence[Namespace], plan: Plan, places: Places) -> Roles:
        """The processes of one job on the hosts."""
        more = {"place": getattr(places, self.needs)} if self.needs else {}
        return self.make(hosts, plan, **self.options, **more)

    def bytes(self, gradients: Sequence[Shape]) -> float:
        """What a host exchanges in a round, about."""
        least = self.options.get("least", 0)
        sizes = [4 * math.prod(shape) for shape in gradients]
        return sum(size if size < least else self.share * size for size in sizes)


def byteps(
    hosts: Sequence[Namespace],
    plan: Plan,
    params: Optional[Dict[str, Any]] = None,
    least: int = env.MIN_COMPRESS_BYTES,
    place: Optional[Path] = None,
) -> Roles:
    """BytePS: a scheduler on the first host, a server and a worker on each.

    params: compression's, for gradients of at least ``least`` bytes; place: stock BytePS.
    """
    words = ["exchange", "--sizes", json.dumps([*map(math.prod, plan.shapes)]), "--params", json.dumps(params or {})]
    words += ["--rounds", plan.rounds, "--warm-up", plan.warm_up]
    base = Side("", place).base(BYTEPS_MIN_COMPRESS_BYTES=str(least))
    return roles_on(hosts, supervisor.BPSLAUNCH, [*supervisor.BPSLAUNCH, *WORKER, *words], base)


def kvstore(hosts: Sequence[Namespace], plan: Plan, compression: Optional[Dict[str, Any]] = None) -> Roles:
    """MXNet's KVStore dist_sync: a scheduler on the first host, a server and a worker on each."""
    words = json.dumps({**plan.words, "compression": compression})
    return roles_on(hosts, KVSTORE_SERVER, [*KVSTORE, words], Side("").base(), interface=LINK)


def ddp(hosts: Sequence[Namespace], plan: Plan, place: Path, hook: str = "") -> Roles:
    """PyTorch's DistributedDataParallel with gloo: a worker on each host."""
    work = [place, DDP, json.dumps({**plan.words, "hook": hook})]
    roles = [supervisor.Role(f"worker-{rank}", host.command(work), Side("").base()) for rank, host in enumerate(hosts)]
    return with_process_group(hosts, roles)


def ddp_hook(hosts: Sequence[Namespace], plan: Plan, place: Path, params: Dict[str, Any]) -> Roles:
    """DDP with this package's hook: a scheduler on the first host, a server and a worker on each."""
    launch = [place, *supervisor.BPSLAUNCH[1:]]
    work = [*launch, place, DDP, json.dumps({**plan.words, "params": params})]
    base = Side("").base(BYTEPS_MIN_COMPRESS_BYTES=str(env.MIN_COMPRESS_BYTES))
    return with_process_group(hosts, roles_on(hosts, launch, work, base))


def with_process_group(hosts: Sequence[Namespace], roles: Roles) -> Roles:
    """Give the workers, one on each host, the variables of torch.distributed; return all roles."""
    address, size, threads = hosts[0].address, str(len(hosts)), str(omp_threads(len(hosts)))
    group = dict(MASTER_ADDR=address, MASTER_PORT=str(TORCH_PORT), WORLD_SIZE=size, GLOO_SOCKET_IFNAME=LINK)
    for rank, role in enumerate(role for role in roles if role.is_worker):
        role.env.update(group, RANK=str(rank), OMP_NUM_THREADS=threads)
    return roles


def horovod(hosts: Sequence[Namespace], plan: Plan, place: Path) -> Roles:
    """Horovod for MXNet with gloo: a worker on each host, and on the first a rendezvous, which ends with it."""

    def role(rank: int) -> supervisor.Role:
        words = json.dumps({**plan.words, "rank": rank, "hosts": [host.address for host in hosts], "port": HOST_PORT})
        env = Side("").base(
            HOROVOD_GLOO_IFACE=LINK,
            HOROVOD_RANK=str(rank),
            HOROVOD_SIZE=str(len(hosts)),
            HOROVOD_LOCAL_RANK="0",
            HOROVOD_LOCAL_SIZE="1",
            HOROVOD_CROSS_RANK=str(rank),
            HOROVOD_CROSS_SIZE=str(len(hosts)),
            HOROVOD_HOSTNAME=hosts[rank].address,
            HOROVOD_GLOO_RENDEZVOUS_ADDR=hosts[0].address,
            HOROVOD_GLOO_RENDEZVOUS_PORT=str(HOST_PORT),
            HOROVOD_CONTROLLER="gloo",
            HOROVOD_CPU_OPERATIONS="gloo",
            OMP_NUM_THREADS=str(omp_threads(len(hosts))),
        )
        return supervisor.Role(f"worker-{rank}", hosts[rank].command([place, HOROVOD, words]), env)

    return [role(rank) for rank in range(len(hosts))]


THRESHOLDS = {"": env.MIN_COMPRESS_BYTES, ", guide's threshold": MIN_COMPRESS_BYTES}
COMPRESSORS: Dict[str, Dict[str, Any]] = {
    "onebit": {"compressor": "onebit", "scaling": True},
    "topk 0.1 %": {"compressor": "topk", "k": 0.001},
    "randomk 0.1 %": {"compressor": "randomk", "k": 0.001},
    "dithering k=2": {"compressor": "dithering", "k": 2, "normalize": "l2", "bucket": 512},
}
GOALS = {"topk 0.1 %": SPARSE_GOAL, "randomk 0.1 %": SPARSE_GOAL}
TERNARY = {"compressor": "dithering", "k": 1, "bucket": 128, "rounding": "nearest", "reply": "encoded"}


def ours(
    name: str, share: float, least: int = env.MIN_COMPRESS_BYTES, goal: Optional[Goal] = None, **params: Any
) -> Peer:
    """Return this package with a compressor for gradients of at least ``least`` bytes."""
    return Peer(f"byteps_gc {name}", byteps, {"params": params, "least": least}, share=share, goal=goal)


DDP_WARM_UP = 3  # rounds in which DDP builds buckets, and PowerSGD does not compress yet
# of PyTorch's communication hooks: what ddp_worker.py calls them, and the share that they send
HOOKS = {
    "": ("", 1.0),
    " fp16": ("fp16", 0.5),
    " PowerSGD rank 1": ("powersgd-1", 0.05),
    " PowerSGD rank 4": ("powersgd-4", 0.2),
}


def pytorch(first: str, needs: str, hooks: Dict[str, Tuple[str, float]]) -> List[Peer]:
    """PyTorch's DDP with its communication hooks."""
    return [
        Peer(first + name, ddp, {"hook": hook}, needs=needs, warm_up=DDP_WARM_UP, share=share)
        for name, (hook, share) in hooks.items()
    ]


def our_hook(name: str, share: float, **params: Any) -> Peer:
    """PyTorch's DDP with this package's hook."""
    return Peer(f"byteps_gc hook{name}", ddp_hook, {"params": params}, needs="torch", warm_up=DDP_WARM_UP, share=share)


PEERS: Tuple[Peer, ...] = (
    Peer("byteps_gc", byteps, goal=DENSE_GOAL),
    ours("fp16", 0.5, goal=DENSE_GOAL, compressor="identity", half=True),
    *(
        ours(name + threshold, 0.05, least, None if threshold else GOALS.get(name), **params)
        for threshold, least in THRESHOLDS.items()
        for name, params in COMPRESSORS.items()
    ),
    ours("ternary + EF", 0.05, ef="vanilla", **TERNARY),
    ours("int8 + EF", 0.26, ef="vanilla", compressor="int8"),
    Peer("stock BytePS", byteps, needs="released", busy=5.0),  # its idle threads keep the processors busy
    Peer("MXNet dist_sync", kvstore),
    Peer("MXNet dist_sync 2bit", kvstore, {"compression": {"type": "2bit", "threshold": 0.5}}, share=0.5),
    *pytorch("PyTorch DDP", "pytorch", HOOKS),
    Peer("Horovod MXNet", horovod, needs="horovod"),
    our_hook("", 1.0),
    our_hook(" fp16", 0.5, fp16=True),
    our_hook(" int8", 0.26, compressor="int8"),
    our_hook(" ternary + EF", 0.05, ef="vanilla", **TERNARY),
    *(our_hook(f" {name} + EF", 0.05, ef="vanilla", **params) for name, params in COMPRESSORS.items()),
    *pytorch("torch DDP", "torch", {**HOOKS, " bf16": ("bf16", 0.5)}),
)
