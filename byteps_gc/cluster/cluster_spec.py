"""This machine as one host of the cluster that the settings file describes."""

from dataclasses import dataclass
import ipaddress
from pathlib import Path
import socket
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc import env, variables
from byteps_gc.cluster import supervisor
from byteps_gc.cluster.roles import LOOPBACK, Cluster, environment
from byteps_gc.errors import SettingsError
from byteps_gc.report.rows import BASELINE


def address_of(name: str) -> str:
    """Return the IPv4 address of a host; :class:`SettingsError` if it has none, or a name that cannot be one."""
    if not variables.is_address(name):
        raise SettingsError(f"host {variables.shown(name)!r} is not {variables.Addresses().accepted}")
    try:
        address = socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
    except OSError as error:
        raise SettingsError(f"cannot resolve host {name!r} to an IPv4 address: {error}") from None
    kind = ipaddress.ip_address(address)
    if kind.is_unspecified or kind.is_multicast or kind.is_reserved:
        raise SettingsError(f"host {name!r} has the address {address}, which no host can have")
    return address


def lines_of(file: Path) -> List[str]:
    """Return the names in a hosts file: one a line, "user@" and comments left out."""
    if not file.is_file():
        raise SettingsError(f"BYTEPS_GC_HOSTS={file}: the file does not exist")
    try:
        lines = [line.split("#")[0].strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise SettingsError(f"BYTEPS_GC_HOSTS={file}: cannot read the file: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"BYTEPS_GC_HOSTS={file}: the file is not text") from None
    return [line.split("@")[-1] for line in lines if line]


def is_here(address: str) -> bool:
    """Return whether this machine has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Host:
    """The settings (see settings.sh), and which of the hosts this machine is."""

    hosts: Tuple[str, ...]
    scheduler: str
    port: int
    workers_per_host: int
    servers_per_host: int
    interface: str
    index: int

    @classmethod
    def from_environment(cls) -> "Host":
        """Read the settings from the environment; :class:`SettingsError` for values that cannot work."""
        env.check()
        names = env.text("BYTEPS_GC_HOSTS", LOOPBACK).replace(",", " ").split()
        if len(names) == 1 and "/" in names[0]:
            names = lines_of(Path(names[0]))
        hosts = tuple(address_of(name) for name in names)
        if not hosts or len(set(hosts)) != len(hosts):
            raise SettingsError(f"BYTEPS_GC_HOSTS={' '.join(names)}: expected distinct hosts")
        for name, host in zip(names, hosts) if len(hosts) > 1 else ():
            if name != host and host.startswith("127."):
                raise SettingsError(
                    f"host {name!r} of BYTEPS_GC_HOSTS resolves to {host} here, which the other hosts cannot reach:"
                    " use its address, or correct /etc/hosts"
                )
        scheduler = address_of(env.text("BYTEPS_GC_SCHEDULER", hosts[0]))
        port = env.integer("BYTEPS_GC_PORT")
        if len(hosts) > 1 and (port == 0 or scheduler.startswith("127.")):
            raise SettingsError(
                f"{len(hosts)} hosts need BYTEPS_GC_SCHEDULER, an address that all hosts can reach (now {scheduler}),"
                f" and BYTEPS_GC_PORT, a port (now {port})"
            )
        here = [at for at, host in enumerate(hosts) if is_here(host)]
        if env.text("BYTEPS_GC_HOST"):
            here = [at for at, host in enumerate(hosts) if host == address_of(env.text("BYTEPS_GC_HOST"))]
        if len(here) != 1:
            raise SettingsError(
                f"{len(here)} of the addresses in BYTEPS_GC_HOSTS ({' '.join(hosts)}) belong to this machine, not one;"
                " set BYTEPS_GC_HOST to this host's address"
            )
        return cls(
            hosts,
            scheduler,
            port,
            env.integer("BYTEPS_GC_WORKERS_PER_HOST"),
            env.integer("BYTEPS_GC_SERVERS_PER_HOST"),
            env.text("BYTEPS_GC_INTERFACE"),
            here[0],
        )

    @property
    def first_worker(self) -> int:
        """The worker id of this machine's first worker."""
        return self.index * self.workers_per_host

    @property
    def schedules(self) -> bool:
        """Whether the scheduler runs on this machine."""
        return is_here(self.scheduler)

    def job_port(self, number: int) -> int:
        """Return the scheduler's port for a run's job of this number, from 0.

        Each job has a port of its own, so that it cannot meet processes of another. The settings' own port is that of
        the rendezvous.
        """
        return self.port + 1 + number if self.port else supervisor.free_port(self.scheduler)

    def cluster(self, port: int) -> Cluster:
        """Return the whole job: its numbers of workers and servers, and the scheduler's address and port."""
        count = len(self.hosts)
        return Cluster(count * self.workers_per_host, count * self.servers_per_host, self.scheduler, port)

    def role_environment(self, role: str, job: str = "") -> Dict[str, str]:
        """Return the environment of a role that is started by hand; BYTEPS_GC_LOCAL_WORKER numbers a host's workers."""
        number = env.integer("BYTEPS_GC_LOCAL_WORKER", most=self.workers_per_host - 1)
        if not self.port:
            raise SettingsError("a role started by hand needs BYTEPS_GC_PORT, the same for all roles of a job")
        if role == "scheduler":
            if not self.schedules:
                raise SettingsError(f"the scheduler's address {self.scheduler} is not an address of this machine")
            supervisor.check_port(self.scheduler, self.port)
        return self.variables(role, number, self.port, job)

    def variables(self, role: str, number: int = 0, port: int = 0, job: str = "") -> Dict[str, str]:
        """Return the environment of a role.

        number: of this host's workers, from 0; port: the scheduler's; job: the name of a worker's job.
        """
        variables = environment(
            self.cluster(port),
            role,
            self.first_worker + number,
            address="" if self.interface else self.hosts[self.index],
            interface=self.interface,
            neighbours=self.workers_per_host,
        )
        if role == "worker":
            if job == BASELINE:
                variables["BYTEPS_THREADPOOL_SIZE"] = str(env.integer("BYTEPS_GC_BASELINE_THREADS"))
            if env.text("BYTEPS_GC_GPUS"):
                variables["NVIDIA_VISIBLE_DEVICES"] = env.text("BYTEPS_GC_GPUS")
        return variables

    def roles(self, job: str, command: Sequence[str], port: int) -> List[supervisor.Role]:
        """Return this machine's roles of a job.

        command: what each worker runs; port: the scheduler's.
        """
        roles: List[supervisor.Role] = []
        if self.schedules:
            variables = self.variables("scheduler", port=port)
            roles.append(supervisor.Role("scheduler", supervisor.BPSLAUNCH, variables))
        for number in range(self.servers_per_host):
            variables = self.variables("server", port=port)
            roles.append(supervisor.Role(f"server-{number}", supervisor.BPSLAUNCH, variables))
        for number in range(self.workers_per_host):
            variables = self.variables("worker", number, port, job)
            roles.append(supervisor.Role(f"worker-{number}", [*supervisor.BPSLAUNCH, *command], variables))
        return roles


def ready(host: Host, port: int) -> Optional[Callable[[], bool]]:
    """Return a function that tells whether this machine's scheduler listens; None if it runs elsewhere."""
    return (lambda: supervisor.listens(host.scheduler, port)) if host.schedules else None
