"""Hosts on one machine: each a set of Linux namespaces with an address, a name and processes of its own.

The hosts and a console hang on one bridge that stands in the console's network
namespace, so nothing they send can leave it, whatever addresses other such
clusters have. A host has its own network, host name, process ids, IPC, ``/run``
and ``/dev/shm``, and ``/etc/hosts`` with the names of all; with ``own_files``,
what it writes below the home folder and ``/tmp`` stays in it.

No namespace, link or mount has a name outside. All of them live as long as one
holding process, which ends when a pipe from this process closes: they are gone
when this process is, even if it was killed. Needs Linux, iproute2 and root, which
may be that of a user namespace (:mod:`~byteps_gc.cluster.privileges`)::

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
LINK = "eth0"  # a host's end of its cable
BASIC = ("hostname", "util-linux", "iproute2")  # what hosts need that run a program of this machine
UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}
BURST = 0.002  # seconds of the rate that may pass at once, but never less than
LEAST_BURST = 128 * 1024  # bytes: two of the largest packets that a sender hands over
QUEUE = 0.2  # seconds of the rate that may wait, but never less than
LEAST_QUEUE = 10**6  # bytes; what would make a queue longer is dropped

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PROGRAMS = {
    "hostname": ("hostname",),
    "util-linux": ("unshare", "nsenter", "setpriv"),
    "iproute2": ("ip", "tc"),
    "openssh-server": ("ssh", "ssh-keygen", "sshd"),
    "pssh": ("parallel-ssh", "parallel-scp", "parallel-slurp"),
}

# $1: the host's name; $2: its /etc/hosts; the others: folders that it may write to without changing them.
# Its first process is then cat, which ends when its input does, and leaves no orphan as a zombie.
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
    """Bytes that passed a host's network link, headers included."""

    sent: int
    received: int


def bits_per_second(rate: str) -> int:
    """A rate such as "100mbit" in bits per second; :class:`SettingsError` if it is none."""
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
    """Where root's sessions start: a folder that every host writes to for itself."""
    return pwd.getpwuid(0).pw_dir


class Namespace:
    """One host (or the console), until :meth:`close`.

    name: its host name; address: its IPv4 address; names: the lines of its /etc/hosts;
    covered: folders that it sees, and writes to for itself alone.
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
            start_new_session=True,  # Ctrl-C on a terminal is this process's to handle
        )
        said = self._holder.stdout.readline().strip()
        if said != "ready":
            self.close()
            raise ClusterError(f"cannot create a network namespace: {said or 'unshare failed'}", 2)

    @property
    def pid(self) -> int:
        """The process that holds the namespaces, as this process's namespace numbers it."""
        return self._holder.pid

    def end(self) -> None:
        """Have the kernel end every process of the host, and with them all that it was."""
        self._holder.stdin.close()

    def close(self) -> None:
        """:meth:`end`, and wait until it is done."""
        self.end()
        self._holder.wait()
        self._holder.stdout.close()

    def path(self, path: str) -> Path:
        """An absolute path of the host, as this process reaches it."""
        return Path(f"/proc/{self.pid}/root{path}")

    def command(self, command: Sequence[object], folder: str = "") -> List[str]:
        """The command line that runs ``command`` on the host, in ``folder`` (default: the current one)."""
        spaces = ["--net", "--uts", "--mount", "--ipc", f"--pid=/proc/{self.pid}/ns/pid_for_children"]
        enter = ["nsenter", f"--target={self.pid}", *spaces, "setpriv", "--pdeathsig=KILL"]
        return [*enter, "env", f"--chdir={folder or os.getcwd()}", *map(str, command)]

    def start(self, command: Sequence[object], folder: str = "", **options) -> subprocess.Popen:
        """Start a command on the host; ``options`` go to Popen.

        It ends with the host or with this thread at the latest.
        """
        defaults = dict(stdin=subprocess.DEVNULL, env=dict(os.environ, PATH=PATH), start_new_session=True)
        return popen(self.command(command, folder), **{**defaults, **options})

    def run(self, command: Sequence[object], folder: str = "", text: str = "") -> str:
        """Run a command on the host with ``text`` as its input; returns what it printed.

        :class:`ClusterError` with its last line if it fails.
        """
        pipe = subprocess.PIPE
        child = self.start(command, folder, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        output, _ = child.communicate(text)
        if child.returncode:
            last = last_line(output, "it printed nothing")
            raise ClusterError(f"{self.name}: {command[0]} failed with status {child.returncode}: {last}")
        return output

    def network(self, *command: str, text: str = "") -> None:
        """Run a command of iproute2 in the host's network, but among this process's process ids."""
        enter = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        done = subprocess.run(
            enter, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, PATH=PATH),
        )  # fmt: skip
        if done.returncode:
            raise ClusterError(f"cannot create a simulated network: {command[0]}: {done.stdout.splitlines()[0]}", 2)

    def traffic(self) -> Traffic:
        """What passed the host's link since it was made."""
        for line in Path(f"/proc/{self.pid}/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == LINK:
                return Traffic(sent=int(numbers.split()[8]), received=int(numbers.split()[0]))
        raise ClusterError(f"{self.name} has no link {LINK}")


class NamespaceHosts(Sequence[Namespace]):
    """A context: ``count`` hosts and a ``console`` on one bridge.

    rate: bandwidth of every host's link in each direction, for example "100mbit"; empty: no limit.
    own_files: whether what a host writes to the home folder and /tmp stays in it, so that hosts do not meet there.
    Raises :class:`SettingsError` where nothing was made, and :class:`ClusterError` where the kernel refuses.
    """

    console: Optional[Namespace] = None

    def __init__(self, count: int, rate: str = "", own_files: bool = True):
        if not 1 <= count <= MOST_HOSTS:
            raise SettingsError(f"cannot simulate {count} hosts; accepted: 1 to {MOST_HOSTS}")
        self.rate = bits_per_second(rate) if rate else 0
        self.count = count
        self.own_files = own_files
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
        """End all hosts and the console; what ran on them is gone on return."""
        made = [*self._hosts, self.console] if self.console else []
        for one in made:
            one.end()
        for one in made:
            one.close()
        self._hosts, self.console = [], None

    def _make(self) -> None:
        """The namespaces, not yet connected."""
        free = [str(address) for address in NETWORK.hosts()]
        addresses = {f"host-{index + 1}": free[index] for index in range(self.count)}
        names = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
        self.console = Namespace("console", free[-1], names)
        covered = [home(), "/tmp"] if self.own_files else []
        for name, address in addresses.items():
            self._hosts.append(Namespace(name, address, names, covered))

    def _connect(self) -> None:
        """The bridge, and a cable from every host to it."""
        lines = ["link add bridge type bridge", f"addr add {self._inside(self.console)} dev bridge"]
        lines.append("link set bridge up")
        for host in self._hosts:
            lines.append(f"link add {host.name} type veth peer name {LINK} netns {host.pid}")
            lines.append(f"link set {host.name} master bridge up")
        self.console.network("ip", "-batch", "-", text="\n".join(lines))
        for host in self._hosts:
            host.network("ip", "addr", "add", self._inside(host), "dev", LINK)
            host.network("ip", "link", "set", LINK, "up")
            self._shape(host, LINK)
            self._shape(self.console, host.name)

    @staticmethod
    def _inside(host: Namespace) -> str:
        """A host's address with its network's size, as ``ip`` wants it."""
        return f"{host.address}/{NETWORK.prefixlen}"

    def _shape(self, host: Namespace, link: str) -> None:
        """Let no more than the rate leave through a link."""
        if self.rate:
            burst = max(LEAST_BURST, int(self.rate / 8 * BURST))
            queue = max(LEAST_QUEUE, int(self.rate / 8 * QUEUE))
            bucket = ["tbf", "rate", f"{self.rate}bit", "burst", f"{burst}b", "limit", f"{queue}b"]
            host.network("tc", "qdisc", "add", "dev", link, "root", *bucket)
