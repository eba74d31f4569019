"""Other users of a job's host: no abstract socket of a process takes anything from them.

And what only the job's own user can send to a server is checked all the same: regions that are not what they say.
"""

import array
import contextlib
import fcntl
import os
from pathlib import Path
import socket
import struct
import time
import traceback

from listeners import local_sockets
import pytest

import attacker
import forged
import strangers

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("attacks")]

NOBODY = 65534
GIFT = struct.Struct("<iiQ")  # worker, number of its region, size
SIGNAL = struct.Struct("<iiQ")  # what processes of one worker send each other: who, which of four signals, key
REGION = 1 << 20
SEALED = 2 | 4 | 1  # F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL
ADD_SEALS = 1033
WORKER = 13  # a worker that this job does not have


@pytest.fixture
def job(attacked):
    """A job whose workers call servers by local sockets."""
    return attacked(way="local")


def as_nobody(attack, *arguments):
    """Call a function in a child process of another user; fails if it raises. Returns the number that it returned."""
    child = os.fork()
    if not child:
        status = 255
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            status = attack(*arguments) or 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, state = os.waitpid(child, 0)
    assert os.WIFEXITED(state) and os.WEXITSTATUS(state) != 255, f"{attack.__name__} failed as another user"
    return os.WEXITSTATUS(state)


def answer(name):
    """The number of bytes that a local socket sends to a client that says what ZeroMQ's say."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(f"\0{name}")
        with contextlib.suppress(ConnectionError):
            client.sendall(attacker.greeting() + attacker.ready())
        with contextlib.suppress(ConnectionError):
            return len(client.recv(255))
        return 0


def send(name, content, *files):
    """Send a datagram, with files, to a local socket."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as giver:
        giver.settimeout(5)
        giver.sendmsg([content], rights, 0, f"\0{name}")


def flood(name, content, *files):
    """Send many."""
    for _ in range(200):
        send(name, content, *files)


def send_all(name, contents):
    """Send datagrams until the queue of a socket that nobody reads is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(socket.timeout):
        sender.settimeout(0.5)
        for content in contents:
            sender.sendto(content, f"\0{name}")


@contextlib.contextmanager
def region(seals=SEALED, size=REGION):
    """A file in memory such as workers share with servers."""
    file = os.memfd_create("region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(file, size)
        if seals:
            fcntl.fcntl(file, ADD_SEALS, seals)
        yield file
    finally:
        os.close(file)


def regions(pid):
    """How often a process has mapped our regions."""
    return Path(f"/proc/{pid}/maps").read_text().count("/memfd:region")


def open_files(pid):
    """The number of a process's open files."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def settled(count, wanted):
    """Whether ``count()`` becomes what is wanted within some seconds."""
    deadline = time.monotonic() + 5
    while count() != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return count() == wanted


def test_another_user_of_the_host(job, reference):
    """It reaches the names of all abstract sockets, and nothing else."""
    attacked = {}
    for pid, role in job.pids().items():
        files = open_files(pid)
        for address in local_sockets(pid):
            attack(pid, address)
            job.survives(f"another user at {address} of {role}")
            attacked[role] = attacked.get(role, 0) + 1
        assert settled(lambda pid=pid: open_files(pid), files), f"{role} keeps files that another user has sent"
    assert attacked == {"server-0": 2, "server-1": 2, "worker-0": 4, "worker-1": 4}
    reports = job.end(reference)
    assert not any(reports.values())


def attack(pid, address):
    """Do as another user what can be done at an abstract socket."""
    if address.endswith("-regions"):
        with region() as file:
            gift = GIFT.pack(WORKER, 0, REGION)
            as_nobody(send, address, gift, file)
            as_nobody(send, address, gift)
            as_nobody(flood, address, b"x", file, file)
            as_nobody(flood, address, gift, file, file, file)
            assert regions(pid) == 0
            send(address, gift, file)
            assert settled(lambda: regions(pid), 1), "this user's region is not taken either"
    elif address.startswith("byteps_gc-"):
        assert as_nobody(answer, address) == 0, "another user is let in"
        assert answer(address) > 0
    else:
        signals = [SIGNAL.pack(0, number, key) for number in range(-1, 9) for key in (0, 65536)]
        as_nobody(send_all, address, [b"", b"x", b"x" * 4096, *signals])


def test_regions_that_are_not_what_they_say(job, reference):
    """From processes of the same user: only a worker's next number, with the size that it has for good, is taken."""
    pid = job.running["server-0"].pid
    (address,) = (name for name in local_sockets(pid) if name.endswith("-regions"))
    files = open_files(pid)

    def give(name, number, said=REGION, worker=WORKER, **options):
        """Give a region, and say that it has another size."""
        with region(**options) as file:
            send(address, GIFT.pack(worker, number, said), file)
        job.survives(f"a region {name}")

    for seals in (0, 1, 2, 4, 6):
        give(f"with the seals {seals}", 0, seals=seals)
    for size in (0, 1, REGION - 1, REGION + 1, 1 << 40, (1 << 64) - 1):
        give(f"of another size than {size}", 0, size)
    give("without content", 0, 0, size=0)
    for number in (-1, 1, 7, 2**31 - 1):
        give(f"with the number {number}", number)
    for worker in (9, 11):
        give(f"that replaces another of worker {worker}", 0, worker=worker)
    assert regions(pid) == 0
    give("that is sound", 0)
    assert settled(lambda: regions(pid), 1)
    give("with the same number", 0)
    assert regions(pid) == 1
    assert open_files(pid) == files
    assert not any(job.end(reference).values())


def test_malformed_data_of_a_worker(attacked, reference):
    """Whatever else a member can do, it cannot make a server read what it has not got."""
    job = attacked(way="tcp")  # the workers call elsewhere, so that what is sent in their names changes no answer's way
    messages = [message for key in forged.KEYS for message in forged.malformed(key)]
    for role in ("server-0", "server-1"):
        (address, _) = local_sockets(job.running[role].pid)
        for worker in (9, 11):
            strangers.say_locally(address, messages, b"ps%d" % worker)
            job.survives(f"malformed messages of worker {worker} to {role}")
    reports = job.end(reference)
    for role in ("server-0", "server-1"):
        for what in ("values of another length", "data without a key of this server", "values without a length"):
            assert any(f"dropped {what} from" in line for line in reports[role])
