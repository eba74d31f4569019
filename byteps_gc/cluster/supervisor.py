"""The supervisor of one machine's roles: it starts, watches and stops them."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
import socket
import subprocess
import sys
import threading
from typing import Callable, Dict, Iterator, List, Optional, Sequence

from byteps_gc.clock import PollingClock
from byteps_gc.cluster import causes, secret
from byteps_gc.cluster.output import Output
from byteps_gc.cluster.roles import LOOPBACK, Cluster, environment
from byteps_gc.errors import ClusterError
from byteps_gc.processes import exit_status, popen, stop, wait_until

PEER_LOST = 69  # the engine's exit status when another process of the job has died
UNREACHED = 68  # the engine's exit status when a worker cannot reach a server
REASON_TIMEOUT = 2.0  # seconds, after a role exits with PEER_LOST, in which the first failure must be reported
BPSLAUNCH = (sys.executable, "-m", "byteps_gc", "role", "--")  # becomes the role that DMLC_ROLE names


@dataclass(frozen=True)
class Role:
    """One process of a job: its name (scheduler, server-0, worker-1, ...), command and environment."""

    name: str
    command: Sequence[str]
    env: Dict[str, str]

    @property
    def kind(self) -> str:
        """The name without its number: scheduler, server or worker."""
        return self.name.partition("-")[0]

    @property
    def is_worker(self) -> bool:
        """Whether the role is a worker; the job is done when all workers have exited."""
        return self.kind == "worker"


@dataclass
class Running:
    """A role's process, and its output."""

    role: Role
    process: subprocess.Popen
    output: Output


def free_port(address: str = LOOPBACK) -> int:
    """Return a TCP port of ``address`` that nothing listens on, chosen by the system."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def check_port(address: str, port: int) -> None:
    """:class:`ClusterError` if this machine cannot listen on ``address``:``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise ClusterError(f"the scheduler cannot listen on {address}:{port}: {error.strerror}") from None


def listens(address: str, port: int) -> bool:
    """Return whether something accepts connections at ``address``:``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


class Supervisor:
    """Runs the roles of one machine until the job is done or one of them fails.

    logs: the folder of the logs, one for each role (scheduler.log, server-0.log, ...). All output is read, so that no
        role blocks; if a line cannot be written or shown, the job ends.
    show: called with (role's name, line) for each line of output.
    tick: called about twenty times a second while the job runs; a :class:`ClusterError` from it ends the job.
    failed: called with the error of a job that fails, before its roles are stopped.
    grace: seconds in which servers and scheduler must exit after the last worker, and a role after SIGTERM (at most 5).
    """

    def __init__(
        self,
        logs: Path,
        show: Callable[[str, str], None] = lambda name, line: None,
        tick: Callable[[], None] = lambda: None,
        failed: Callable[[ClusterError], None] = lambda error: None,
        grace: float = 20.0,
    ):
        self.logs = logs
        self.show = show
        self.tick = tick
        self.failed = failed
        self.grace = grace
        self.running: List[Running] = []
        self.clock = PollingClock()
        self.left_at: Optional[float] = None
        self.lost_at: Optional[float] = None
        self.kills = causes.oom_kills()
        self._show_lock = threading.Lock()
        logs.mkdir(parents=True, exist_ok=True)

    def run(self, roles: Sequence[Role], ready: Optional[Callable[[], bool]] = None) -> None:
        """Start the roles in order, and wait until the job is done; no process is left on return.

        ready: polled after the start of the first role; the others start when it is true.
        Raises :class:`ClusterError`, which names the role that failed.
        """
        try:
            for role in roles:
                self.start(role)
                if ready is not None and role is roles[0]:
                    self.wait(ready, f"{role.name} was not ready in time", 60)
            workers = [one for one in self.running if one.role.is_worker]
            self.wait(lambda: all(one.process.poll() == 0 for one in workers))
            rest = [one for one in self.running if one not in workers]
            try:
                self.wait(lambda: all(one.process.poll() == 0 for one in rest), "", self.grace)
            except TimeoutError:
                pass
            for one in self.running:
                one.output.join(2)
            self.check_output()
        except ClusterError as error:
            self.failed(error)
            raise
        except TimeoutError as error:
            raise ClusterError(str(error)) from None
        finally:
            self.stop()

    def start(self, role: Role) -> None:
        """Start a role in a process group of its own; the kernel kills the role when this process ends."""
        try:
            process = popen(
                list(role.command),
                env=dict(role.env, BYTEPS_GC_ROLE=role.name),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ClusterError(f"cannot run {role.command[0]}: {error.strerror}", 127) from None
        output = Output(role.name, process.stdout, self.logs / f"{role.name}.log", self.show_line)
        self.running.append(Running(role, process, output))

    def show_line(self, name: str, line: str) -> None:
        """Show a line of output; only one thread does at a time."""
        with self._show_lock:
            self.show(name, line)

    def wait(self, done: Callable[[], bool], message: str = "", seconds: Optional[float] = None) -> None:
        """Wait until ``done()``; raise :class:`ClusterError` if a role fails, TimeoutError after ``seconds``."""

        def look() -> bool:
            if done():
                return True
            self.check()
            self.tick()
            return False

        if not wait_until(look, seconds):
            raise TimeoutError(message)
        self.check()

    def check(self) -> None:
        """:class:`ClusterError` if a role has failed, has exited while workers need it, or if its output was lost."""
        now = self.clock.seconds()
        states = [(one, one.process.poll()) for one in self.running]
        for one, state in states:
            if state and state != PEER_LOST:
                raise self.failure(one, state)
        self.check_output()
        # a role that lost its peer says less than that peer does, here or on its host
        lost = [one for one, state in states if state == PEER_LOST]
        if lost:
            self.lost_at = self.lost_at or now
            if now - self.lost_at > REASON_TIMEOUT:
                raise self.failure(lost[0], PEER_LOST)
        left = [one for one, state in states if state == 0 and not one.role.is_worker]
        if not left or not any(one.role.is_worker and state is None for one, state in states):
            self.left_at = None
        elif self.left_at is None:
            self.left_at = now
        elif now - self.left_at > self.grace:
            raise self.failure(left[0], 0)

    def check_output(self) -> None:
        """:class:`ClusterError` if something that a role printed could not be written or shown."""
        for one in self.running:
            if one.output.lost:
                raise ClusterError(one.output.lost)

    def failure(self, one: Running, state: int) -> ClusterError:
        """Return the error of a role that has exited: how it ended, and its last lines."""
        one.output.join(2)
        status = exit_status(state)
        printed = list(one.output.lines)
        reason = next((line[8:] for line in reversed(printed) if line.startswith("byteps: ")), "")
        if state in (PEER_LOST, UNREACHED) and reason:
            return ClusterError(f"{reason}; log: {self.logs / (one.role.name + '.log')}", status)
        how = causes.ending(state, printed, self.kills)
        if state == 0:
            how, status = "exited while workers were still running", 1
        lines = "".join(f"\n  {one.role.name} | {line}" for line in printed) or " (no output)"
        return ClusterError(f"{one.role.name} {how}; log: {self.logs / (one.role.name + '.log')}{lines}", status)

    def stop(self) -> None:
        """Stop all roles, each with its process group."""
        stop([one.process for one in self.running], grace=min(5.0, self.grace))
        for one in self.running:
            one.output.join(2)


def job(
    workers: int,
    servers: int,
    command: Sequence[str],
    port: int = 0,
    base: Optional[Dict[str, str]] = None,
) -> List[Role]:
    """Return the roles of a whole cluster on this machine's loopback: scheduler, servers, workers.

    command: what each worker runs; port: the scheduler's, 0 for a free one; base: the environment to inherit.
    """
    cluster = Cluster(workers, servers, port=port or free_port())
    if port:
        check_port(LOOPBACK, port)

    def variables(role: str, worker: Optional[int] = None) -> Dict[str, str]:
        return environment(cluster, role, worker, address=LOOPBACK, neighbours=workers, base=base)

    roles = [Role("scheduler", BPSLAUNCH, variables("scheduler"))]
    roles += [Role(f"server-{index}", BPSLAUNCH, variables("server")) for index in range(servers)]
    torch = torch_variables(workers)
    for index in range(workers):
        env = dict(variables("worker", index), **torch, RANK=str(index), LOCAL_RANK=str(index))
        roles.append(Role(f"worker-{index}", [*BPSLAUNCH, *command], env))
    return roles


def torch_variables(workers: int) -> Dict[str, str]:
    """Return what torch.distributed reads on every worker of this machine, as torchrun sets it."""
    count = str(workers)
    return {
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
    }


@contextlib.contextmanager
def secured(roles: Sequence[Role]) -> Iterator[List[Role]]:
    """Give a job whose roles all run on this machine a secret, which is removed at the end."""
    with secret.fresh() as variable:
        yield [replace(role, env=dict(role.env, **variable)) for role in roles]


def launch(roles: Sequence[Role], logs: Path, show: Callable[[str, str], None] = lambda name, line: None) -> None:
    """Run the roles of a :func:`job`; ``show`` and errors: see :class:`Supervisor` and its :meth:`~Supervisor.run`."""
    port = int(roles[0].env["DMLC_PS_ROOT_PORT"])
    with secured(roles) as roles:
        Supervisor(logs, show).run(roles, lambda: listens(LOOPBACK, port))
