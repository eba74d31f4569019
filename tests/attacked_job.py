"""A job that is attacked: real roles that exchange until the test lets them end, and what must not change."""

from pathlib import Path
import resource
import sys
import time
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from byteps_gc.cluster import roles, supervisor
from byteps_gc.cluster.namespaces import Namespace
from listeners import Listener, listeners
import pytest

import attacker
from conftest import PROGRAMS, Commands
import strangers

ROUNDS = 1000  # at most
PACE = 0.05  # seconds of a round at least, so that ROUNDS are not over before the attacks are
WORKERS, SERVERS = 2, 2
WARM_UP = 5  # rounds until memory is what it remains
GROWTH = 64 << 20  # bytes of memory that no attack may cost a process
PATIENCE = 20  # seconds in which two more rounds are done, however busy the machine is
SERVER_ADDRESS = {"tcp": "127.0.0.2", "local": roles.LOOPBACK}  # servers of another host are called by TCP
HOST_PORT = 1234  # of the scheduler on a simulated host
STRAY = """
import byteps_gc.numpy as bps
print("calls", flush=True)
bps.init()
"""
REPORTS = ("byteps: dropped ", "byteps: turned away ")


class Job:
    """Two workers, two servers and a scheduler on this machine, each started by itself.

    way: "tcp" if workers call servers by TCP, as between hosts, or "local". hosts: simulated hosts, the first two of
    which run a worker and a server each instead. secret: the file with the job's, if it has one.
    """

    def __init__(
        self,
        commands: Commands,
        way: str = "tcp",
        hosts: Sequence[Namespace] = (),
        secret: Optional[Path] = None,
        **env: str,
    ):
        self.commands = commands
        self.way = way
        self.hosts = hosts
        self.folder = commands.folder / f"job-{time.time_ns()}"
        self.folder.mkdir()
        place = dict(scheduler=hosts[0].address, port=HOST_PORT) if hosts else dict(port=supervisor.free_port())
        self.cluster = roles.Cluster(WORKERS, SERVERS, **place)
        # both servers get larger values, so that each worker shares memory with each server of its host
        self.env = {"BYTEPS_MIN_COMPRESS_BYTES": "0", "BYTEPS_GC_SLOT_BYTES": "8192", **env}
        if secret:
            self.env["BYTEPS_GC_SECRET_FILE"] = str(secret)
        self.running: Dict[str, object] = {}
        self.memory: Dict[int, int] = {}
        self.attacks: List[str] = []

    def environment(self, role: str, number: int = 0) -> Dict[str, str]:
        """The environment of a role of this job."""
        address = SERVER_ADDRESS[self.way] if role == "server" else roles.LOOPBACK
        if self.hosts:
            address = self.hosts[number].address
        return roles.environment(self.cluster, role, number, address, base=self.env)

    def start(self, pace: Optional[float] = None) -> "Job":
        """Start all roles; a round takes at least ``pace`` seconds."""
        names = [
            "scheduler",
            *(f"server-{one}" for one in range(SERVERS)),
            *(f"worker-{one}" for one in range(WORKERS)),
        ]
        program = [sys.executable, PROGRAMS / "attacked.py", self.folder, ROUNDS, PACE if pace is None else pace]
        for name in names:
            role, _, text = name.partition("-")
            number, command = int(text or 0), [*supervisor.BPSLAUNCH, *program]
            if self.hosts:
                command = self.hosts[number].command(command, str(self.folder))
            env = dict(self.environment(role, number), BYTEPS_GC_ROLE=name)
            self.running[name] = self.commands.start(*command, **env)
        return self

    def warm_up(self) -> "Job":
        """Wait until memory does not grow any more, and remember it."""
        self.wait_for_rounds(WARM_UP, 120, "before any attack")
        self.memory = self.peaks()
        return self

    def digests(self) -> List[str]:
        """What worker 0 has written."""
        file = self.folder / "worker-0"
        return file.read_text().split("\n")[:-1] if file.exists() else []

    def wait_for_rounds(self, count: int, seconds: float, when: str) -> None:
        """Fail unless the job completes ``count`` more rounds within ``seconds``."""
        wanted, deadline = len(self.digests()) + count, time.monotonic() + seconds
        while len(self.digests()) < wanted:
            ended = [name for name, process in self.running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                self.fail(f"{when}: " + (f"{', '.join(ended)} ended" if ended else "the job hangs"))
            time.sleep(0.01)

    def fail(self, why: str) -> None:
        """Fail with what all roles have printed."""
        self.commands.end()
        said = [f"--- {name}\n{process.communicate()[0][-3000:]}" for name, process in self.running.items()]
        pytest.fail("\n".join([why, *said]))

    def pids(self) -> Dict[int, str]:
        """All processes of the job, by id, and their roles."""
        found, left = {}, [(process.pid, name) for name, process in self.running.items()]
        while left:
            pid, name = left.pop()
            found[pid] = name
            left += [(int(child), name) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found

    def peaks(self) -> Dict[int, int]:
        """The most memory that each process has had, in bytes."""
        return {pid: peak(pid) for pid in self.pids()}

    def survives(self, attack: str) -> None:
        """Fail, naming the attack, unless the job exchanges as before and has as much memory."""
        self.attacks.append(attack)
        self.wait_for_rounds(2, PATIENCE, f"after {attack}")
        names = self.pids()
        for pid, now in self.peaks().items():
            grown = now - self.memory[pid]
            if grown > GROWTH:
                self.fail(f"after {attack}: {names[pid]} has {grown >> 20} MB more")

    def survives_noise(
        self, noise: Mapping[str, bytes], say: Callable[[Listener, bytes], bytes] = attacker.say
    ) -> None:
        """Send noise to every port, by name; none is answered with more than ZeroMQ's handshake.

        say: sends bytes to a port and returns the answer.
        """
        for name, data in noise.items():
            for listener in self.listeners():
                answer = say(listener, data)
                assert strangers.commands(answer) <= {b"READY", b"ERROR"}, f"{listener.role} answers {name}: {answer}"
            self.survives(name)

    def listeners(self) -> List[Listener]:
        """The TCP ports where scheduler and servers listen."""
        listening = [(name, pid) for pid, name in self.pids().items() if "worker" not in name]
        return [listener for name, pid in sorted(listening) for listener in listeners(name, pid)]

    def limit_files(self, count: int) -> None:
        """Limit the open files of scheduler and servers to ``count``."""
        for name, process in self.running.items():
            if "worker" not in name:
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (count, count))

    def stray(self, role: str, **env: str):
        """Start one more process of a role, as if the job had not begun."""
        program = [sys.executable, "-c", STRAY]
        return self.commands.start(*supervisor.BPSLAUNCH, *program, **{**self.environment(role), **env})

    def end(self, reference: List[str]) -> Dict[str, List[str]]:
        """Let the job end; returns what each role reported of dropped messages and connections.

        Fails unless all roles end with status 0 and the digest of the undisturbed job, and report each thing once.
        """
        (self.folder / "end").touch()
        reports = {}
        for name, process in self.running.items():
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, f"{name} ended with status {process.returncode}:\n{output}"
            lines = [line for line in output.splitlines() if line.startswith("byteps: ")]
            reports[name] = [line for line in lines if line.startswith(REPORTS)]
            assert lines == reports[name], f"{name} says more:\n{output}"
            assert len(set(lines)) == len(lines), f"{name} repeats itself:\n{output}"
        digests = self.digests()
        assert len(digests) < ROUNDS
        assert digests == reference[: len(digests)]
        assert (self.folder / "worker-1").read_text() == (self.folder / "worker-0").read_text()
        return reports


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has ended")


def undisturbed(commands: Commands) -> List[str]:
    """The digests of ROUNDS rounds that nobody disturbs."""
    job = Job(commands, "local").start(0)
    for name, process in job.running.items():
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, f"{name}:\n{output}"
    return job.digests()
