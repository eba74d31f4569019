"""This machine as one host of the cluster that the settings file describes."""

from dataclasses import dataclass
import ipaddress
import os
from pathlib import Path
import socket
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc import env, variables
from byteps_gc.cluster import supervisor
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.roles import LOOPBACK, Cluster, environment
from byteps_gc.errors import SettingsError


def address_of(name: str) -> str:
    """The IPv4 address of a host; :class:`SettingsError` if it has none, or a name that cannot be one."""
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
    """Whether the address is one of this machine's."""
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
        """Read BYTEPS_GC_HOSTS and its neighbours; :class:`SettingsError` for what cannot be."""
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
        """The id of this machine's first worker among all workers."""
        return self.index * self.workers_per_host

    @property
    def schedules(self) -> bool:
        """Whether the scheduler runs on this machine."""
        return is_here(self.scheduler)

    def job_port(self, number: int) -> int:
        """The scheduler's port for the ``number``-th job of a run: each job has its own, so that none meets another.

        The settings' port itself is where the hosts of a run meet.
        """
        return self.port + 1 + number if self.port else supervisor.free_port(self.scheduler)

    def cluster(self, port: int) -> Cluster:
        """The whole job: how many workers and servers, and where the scheduler is."""
        count = len(self.hosts)
        return Cluster(count * self.workers_per_host, count * self.servers_per_host, self.scheduler, port)

    def role_environment(self, role: str) -> Dict[str, str]:
        """The environment for a role that is started on this machine by itself.

        BYTEPS_GC_LOCAL_WORKER tells the workers of a host apart, BYTEPS_GC_JOB_PORT
        is the port that a run chose for its job.
        """
        number = env.integer("BYTEPS_GC_LOCAL_WORKER", most=self.workers_per_host - 1)
        port = env.integer("BYTEPS_GC_JOB_PORT", self.port)
        if not port:
            raise SettingsError("a role started by hand needs BYTEPS_GC_PORT, the same for all roles of a job")
        if role == "scheduler" and not self.schedules:
            raise SettingsError(f"the scheduler's address {self.scheduler} is not an address of this machine")
        if role == "scheduler":
            supervisor.check_port(self.scheduler, port)
        return self.variables(role, number, port)

    def variables(self, role: str, number: int = 0, port: int = 0) -> Dict[str, str]:
        """The environment of a role, the ``number``-th of its kind here, in a job at that port of the scheduler."""
        variables = environment(
            self.cluster(port),
            role,
            self.first_worker + number,
            address="" if self.interface else self.hosts[self.index],
            interface=self.interface,
            neighbours=self.workers_per_host,
        )
        devices = env.text("BYTEPS_GC_GPUS")
        if devices and role == "worker":
            variables["NVIDIA_VISIBLE_DEVICES"] = devices
        return variables

    def roles(
        self, experiment: Experiment, job: str, flags: Sequence[str], port: int, *options: str
    ) -> List[supervisor.Role]:
        """Return this machine's roles of a job, started by the experiment's scripts with ``options``."""
        folder = experiment.folder
        base = dict(os.environ, BYTEPS_GC_JOB_PORT=str(port))
        roles: List[supervisor.Role] = []
        if self.schedules:
            roles.append(supervisor.Role("scheduler", [str(folder / "scheduler.sh"), *options], base))
        for number in range(self.servers_per_host):
            roles.append(supervisor.Role(f"server-{number}", [str(folder / "server.sh"), *options], base))
        for number in range(self.workers_per_host):
            command = [
                str(folder / "worker.sh"),
                job,
                *experiment.definitions(),
                *options,
                *(["--", *flags] if flags else []),
            ]
            variables = dict(base, BYTEPS_GC_LOCAL_WORKER=str(number))
            roles.append(supervisor.Role(f"worker-{number}", command, variables))
        return roles


def ready(host: Host, port: int) -> Optional[Callable[[], bool]]:
    """A question for :meth:`local.Supervisor.run`: whether the scheduler of this machine listens."""
    return (lambda: supervisor.listens(host.scheduler, port)) if host.schedules else None
