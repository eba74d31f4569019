"""An sshd on each simulated host, and ssh and pssh on the console.

Keys and settings are in a folder that each namespace has for itself, and vanish with it.
"""

from typing import List

from byteps_gc.cluster.namespaces import Namespace, NamespaceHosts
from byteps_gc.errors import ClusterError
from byteps_gc.processes import wait_until

SSH = "/run/ssh"  # of every namespace: keys and settings of ssh and sshd
LISTENING = "Server listening"  # what sshd logs
SSHD_SETTINGS = f"""
HostKey {SSH}/host_key
AuthorizedKeysFile {SSH}/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""
SSH_SETTINGS = f"""
User root
IdentityFile {SSH}/key
IdentitiesOnly yes
UserKnownHostsFile {SSH}/known_hosts
GlobalKnownHostsFile none
LogLevel ERROR
"""
# A root whose password is locked may not log in where there is no PAM: give the host a list without the lock.
UNLOCK = "sed 's/^root:[^:]*:/root:*:/' /etc/shadow >/run/shadow && mount --bind /run/shadow /etc/shadow"


def make_key(host: Namespace, name: str) -> str:
    """Make a key on the host; return its public half."""
    host.path(SSH).mkdir(exist_ok=True)
    host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{SSH}/{name}"])
    return host.path(f"{SSH}/{name}.pub").read_text()


def serve(hosts: NamespaceHosts) -> None:
    """Start an sshd on each host, which admits the console only."""
    console_key = make_key(hosts.console, "key")
    known = [f"{host.address} {start_sshd(host, console_key)}" for host in hosts]
    hosts.console.path(f"{SSH}/known_hosts").write_text("".join(known))
    hosts.console.path(f"{SSH}/config").write_text(SSH_SETTINGS)


def start_sshd(host: Namespace, console_key: str, seconds: float = 30) -> str:
    """Start a host's sshd and wait until it listens; return its public key."""
    key = make_key(host, "host_key")
    host.path(f"{SSH}/authorized_keys").write_text(console_key)
    host.path(f"{SSH}/sshd_config").write_text(SSHD_SETTINGS)
    host.path("/run/sshd").mkdir()
    host.run(["sh", "-c", UNLOCK])
    log = host.path(f"{SSH}/log")
    with open(log, "w") as stream:  # sshd wants to be called by its whole path
        sshd = host.start(["sh", "-c", f'exec "$(command -v sshd)" -D -e -f {SSH}/sshd_config'], stderr=stream)
    wait_until(lambda: sshd.poll() is not None or LISTENING in log.read_text(), seconds)
    if LISTENING not in log.read_text():
        raise ClusterError(f"{host.name}: cannot start sshd: {' '.join(log.read_text().split())}")
    return key


def pssh(hosts: NamespaceHosts, program: str, *words: str) -> List[str]:
    """Return the command, for the console, that runs one of pssh's programs for all hosts."""
    return [program, "-x", f"-F {SSH}/config", "-H", " ".join(host.address for host in hosts), *words]


def scp(source: object, target: object) -> List[str]:
    """Return the command, for the console, that copies a file or folder from or to a host (ADDRESS:PATH)."""
    return ["scp", "-q", "-r", "-p", "-F", f"{SSH}/config", str(source), str(target)]
