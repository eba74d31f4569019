"""Simulated hosts: each is a set of Linux namespaces with an address, a host name and processes of its own.

One bridge, in the network namespace of a console, connects the hosts and the console. No packet can leave it, so
several such clusters can use the same addresses. A host has its own network, host name, process ids, IPC, ``/run`` and
``/dev/shm``, and an ``/etc/hosts`` with all names. With ``own_files``, what it writes to the home folder and ``/tmp``
stays in it.

No namespace, link or mount has a name outside. Each host lives as long as its holding process, which exits when a pipe
from this process closes: nothing is left when this process ends, even if it is killed. Requires Linux, iproute2 and
root, which may be that of a user namespace (:mod:`~byteps_gc.cluster.privileges`)::

    with NamespaceHosts(2, rate="100mbit") as hosts:
        server = hosts[0].start(["iperf3", "--server", "--one-off"])
        hosts[1].run(["iperf3", "--client", hosts[0].address])
        print(hosts[1].traffic())
"""

import ipaddress
import os
from pathlib import Path
import pwd
import re
import shutil
import subprocess
from typing import List, NamedTuple, Optional, Sequence

from byteps_gc.errors import ClusterError, SettingsError
from byteps_gc.processes import last_line, popen

NETWORK = ipaddress.ip_network("10.99.0.0/24")
MOST_HOSTS = 16
LINK = "eth0"  # a host's network interface
BASIC = ("hostname", "util-linux", "iproute2")  # Debian packages that simulated hosts require
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}
BURST = 0.002  # size of the token bucket, in seconds at the rate, but at least
LEAST_BURST = 128 * 1024  # bytes: two of the largest packets of a sender
QUEUE = 0.2  # length of the queue, in seconds at the rate, but at least
LEAST_QUEUE = 10**6  # bytes; more are dropped
CONGESTION = "cubic"  # TCP's congestion control between hosts, Linux's default, whatever this machine's is

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PROGRAMS = {
    "hostname": ("hostname",),
    "util-linux": ("unshare", "nsenter", "setpriv"),
    "iproute2": ("ip", "tc"),
    "openssh-server": ("ssh", "ssh-keygen", "sshd"),
    "pssh": ("parallel-ssh", "parallel-scp", "parallel-slurp"),
}

# $1: the host's name; $2: its /etc/hosts; the others: folders that get a writable overlay.
# The host's first process becomes cat, which exits when its input ends, and leaves no zombies.
HOLD = r"""
set -e
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
echo "$2" >/run/hosts
mount --bind /run/hosts /etc/hosts
for folder in "${@:3}"; do
    mkdir -p "/run/written$folder/new" "/run/written$folder/work"
    chmod --reference="$folder" "/run/written$folder/new"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=/run/written$folder/new,workdir=/run/written$folder/work" \
        "$folder"
done
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do
    [ ! -w "$file" ] || echo 1 >"$file"
done
ip link set lo up
echo ready
exec env --ignore-signal=CHLD cat
"""


class Traffic(NamedTuple):
    """Bytes that passed a host's link, with one header for every packet of up to 64 KiB that TCP gives the link.

    The link also carries a header for each of the frames that such a packet is cut into, 4.6 % more.
    """

    sent: int
    received: int


def bits_per_second(rate: str) -> int:
    """Parse a rate such as "100mbit"; return bits per second. :class:`SettingsError` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg])bit", rate)
    bits = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if bits < 1:
        raise SettingsError(f"rate {rate!r} is not a bandwidth such as 500kbit, 100mbit or 1gbit")
    return bits


def require(packages: Sequence[str]) -> None:
    """:class:`SettingsError` unless this is root with the programs of Debian's ``packages`` (keys of PROGRAMS)."""
    if os.geteuid() != 0:
        raise SettingsError("only root can create the network namespaces that simulate hosts: use sudo")
    missing = [name for name in packages if not all(shutil.which(program, path=PATH) for program in PROGRAMS[name])]
    if missing:
        raise SettingsError(f"missing Debian packages; install them with: apt-get install {' '.join(missing)}")


def home() -> str:
    """Return root's home folder, which each host has for itself."""
    return pwd.getpwuid(0).pw_dir


class Namespace:
    """A simulated host (or the console), until :meth:`close`.

    name: its host name; address: its IPv4 address; names: the lines of its /etc/hosts;
    covered: folders that get a writable overlay.
    """

    def __init__(self, name: str, address: str, names: Sequence[str], covered: Sequence[str] = ()):
        self.name = name
        self.address = address
        kinds = ["--net", "--uts", "--mount", "--ipc", "--pid", "--fork", "--mount-proc"]
        self._holder = subprocess.Popen(
            ["unshare", *kinds, "bash", "-c", HOLD, "bash", name, "\n".join(names), *covered],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ, PATH=PATH),
            start_new_session=True,  # this process handles Ctrl-C on a terminal
        )
        said = self._holder.stdout.readline().strip()
        if said != "ready":
            self.close()
            raise ClusterError(f"cannot create a network namespace: {said or 'unshare failed'}", 2)

    @property
    def pid(self) -> int:
        """The id of the process that holds the namespaces, in this process's namespace."""
        return self._holder.pid

    def end(self) -> None:
        """Have the kernel kill all processes of the host, and remove its namespaces."""
        self._holder.stdin.close()

    def close(self) -> None:
        """:meth:`end`, and wait until it is done."""
        self.end()
        self._holder.wait()
        self._holder.stdout.close()

    def path(self, path: str) -> Path:
        """Return this process's path of an absolute path of the host."""
        return Path(f"/proc/{self.pid}/root{path}")

    def command(self, command: Sequence[object], folder: str = "") -> List[str]:
        """Return the command that runs ``command`` on the host, in ``folder`` (default: the current one)."""
        spaces = ["--net", "--uts", "--mount", "--ipc", f"--pid=/proc/{self.pid}/ns/pid_for_children"]
        enter = ["nsenter", f"--target={self.pid}", *spaces, "setpriv", "--pdeathsig=KILL"]
        return [*enter, "env", f"--chdir={folder or os.getcwd()}", *map(str, command)]

    def start(self, command: Sequence[object], folder: str = "", **options) -> subprocess.Popen:
        """Start a command on the host, with ``options`` for Popen; it is killed when the host or this thread ends."""
        defaults = dict(stdin=subprocess.DEVNULL, env=dict(os.environ, PATH=PATH), start_new_session=True)
        return popen(self.command(command, folder), **{**defaults, **options})

    def run(self, command: Sequence[object], folder: str = "", text: str = "") -> str:
        """Run a command on the host with ``text`` as its input; return its output.

        Raises :class:`ClusterError` with the last line if it fails.
        """
        pipe = subprocess.PIPE
        child = self.start(command, folder, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        output, _ = child.communicate(text)
        if child.returncode:
            last = last_line(output, "it printed nothing")
            raise ClusterError(f"{self.name}: {command[0]} failed with status {child.returncode}: {last}")
        return output

    def network(self, *command: str, text: str = "") -> None:
        """Run a command of iproute2 in the host's network namespace, but in this process's process namespace."""
        enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        done = subprocess.run(
            enter, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, PATH=PATH),
        )  # fmt: skip
        if done.returncode:
            raise ClusterError(f"cannot create a simulated network: {command[0]}: {done.stdout.splitlines()[0]}", 2)

    def traffic(self) -> Traffic:
        """Return the traffic of the host's link so far."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == LINK:
                return Traffic(sent=int(numbers.split()[8]), received=int(numbers.split()[0]))
        raise ClusterError(f"{self.name} has no link {LINK}")


class NamespaceHosts(Sequence[Namespace]):
    """A context: ``count`` hosts and a ``console`` on one bridge.

    rate: bandwidth of each host's link in each direction, for example "100mbit"; empty: no limit.
    congestion: TCP's congestion control between hosts, such as "bbr".
    own_files: whether what a host writes to the home folder and /tmp stays in it.
    Raises :class:`SettingsError` for invalid arguments, and :class:`ClusterError` if the kernel creates no namespace.
    """

    console: Optional[Namespace] = None

    def __init__(self, count: int, rate: str = "", own_files: bool = True, congestion: str = CONGESTION):
        if not 1 <= count <= MOST_HOSTS:
            raise SettingsError(f"cannot simulate {count} hosts; accepted: 1 to {MOST_HOSTS}")
        self.rate = bits_per_second(rate) if rate else 0
        self.count = count
        self.own_files = own_files
        self.congestion = congestion
        self._hosts: List[Namespace] = []

    def __len__(self) -> int:
        return len(self._hosts)

    def __getitem__(self, index):
        return self._hosts[index]

    def __enter__(self) -> "NamespaceHosts":
        require(BASIC)
        try:
            self._make()
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove all hosts and the console, with all their processes."""
        made = [*self._hosts, self.console] if self.console else []
        for one in made:
            one.end()
        for one in made:
            one.close()
        self._hosts, self.console = [], None

    def _make(self) -> None:
        """Create the namespaces, not yet connected."""
        free = [str(address) for address in NETWORK.hosts()]
        addresses = {f"host-{index + 1}": free[index] for index in range(self.count)}
        names = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        self.console = Namespace("console", free[-1], names)
        covered = [home(), "/tmp"] if self.own_files else []
        for name, address in addresses.items():
            self._hosts.append(Namespace(name, address, names, covered))

    def _connect(self) -> None:
        """Create the bridge, and a link from each host to it."""
        lines = ["link add bridge type bridge", f"addr add {self._inside(self.console)} dev bridge"]
        lines.append("link set bridge up")
        for host in self._hosts:
            lines.append(f"link add {host.name} type veth peer name {LINK} netns {host.pid}")
            lines.append(f"link set {host.name} master bridge up")
        self.console.network("ip", "-batch", "-", text="\n".join(lines))
        for host in self._hosts:
            host.network("ip", "addr", "add", self._inside(host), "dev", LINK)
            host.network("ip", "link", "set", LINK, "up")
            route = [str(NETWORK), "dev", LINK, "proto", "kernel", "scope", "link", "src", host.address]
            host.network("ip", "route", "replace", *route, "congctl", self.congestion)
            self._shape(host, LINK)
            self._shape(self.console, host.name)

    @staticmethod
    def _inside(host: Namespace) -> str:
        """Return a host's address with the size of its network, for ``ip``."""
        return f"{host.address}/{NETWORK.prefixlen}"

    def _shape(self, host: Namespace, link: str) -> None:
        """Limit the rate at which packets leave through a link."""
        if self.rate:
            burst = max(LEAST_BURST, int(self.rate / 8 * BURST))
            queue = max(LEAST_QUEUE, int(self.rate / 8 * QUEUE))
            bucket = ["tbf", "rate", f"{self.rate}bit", "burst", f"{burst}b", "limit", f"{queue}b"]
            host.network("tc", "qdisc", "add", "dev", link, "root", *bucket)
