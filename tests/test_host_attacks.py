"""Attacks between hosts: the job runs on two simulated hosts, and the attacker on a third one."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import ctypes
import os

from byteps_gc.cluster import secret
from byteps_gc.cluster.namespaces import NamespaceHosts
import pytest

import attacker
import forged
import strangers

pytestmark = pytest.mark.cluster

NETWORK = 0x40000000  # CLONE_NEWNET
NOISE = ("a TLS ClientHello", "an HTTP request", "1 MB of random bytes")
INTRUDERS = ("no secret", "another secret")
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def hosts(machine):
    """Three hosts, the last of which attacks. Files are those of this machine."""
    with NamespaceHosts(3, own_files=False) as hosts:
        yield hosts


@contextlib.contextmanager
def on(host):
    """A function that calls functions in the network of a host; its threads stay there."""

    def enter():
        with open(f"/proc/{host.pid}/ns/net") as network:
            if libc.setns(network.fileno(), NETWORK):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with ThreadPoolExecutor(1, initializer=enter) as thread:
        yield lambda attack, *arguments, **options: thread.submit(attack, *arguments, **options).result()


def make_noise(job, listeners, call):
    """What needs no secret and no knowledge of the job."""
    assert [listener.address for listener in listeners] == ["10.99.0.1", "10.99.0.1", "10.99.0.2"]
    job.survives_noise({name: attacker.NOISE[name] for name in NOISE}, lambda *words: call(attacker.say, *words))


def test_without_a_secret(hosts, attacked, reference):
    """The attacker speaks ZeroMQ's language, and the job's, but is none of its processes."""
    job = attacked(hosts=hosts)
    listeners = job.listeners()
    with on(hosts[2]) as call:
        make_noise(job, listeners, call)
        for name, messages in forged.everything().items():
            data = b"".join(map(attacker.message, messages))
            for listener in listeners:
                answer = call(attacker.say_as_client, listener, data, b"ps13")
                assert listener.role == "scheduler" or not answer
            job.survives(f"forged {name}")
    strangers.require_reported(job.end(reference), "10.99.0.3")


def test_with_a_secret(hosts, attacked, reference, tmp_path):
    """The attacker knows all but the secret, and forges the messages of a worker."""
    file = secret.make(tmp_path / "secret")
    job = attacked(hosts=hosts, secret=file)
    listeners, known = job.listeners(), strangers.intruders(secret.load(file))
    messages = [message for some in forged.everything().values() for message in some]
    with on(hosts[2]) as call:
        make_noise(job, listeners, call)
        for name in INTRUDERS:
            for listener in listeners:
                outcome = call(strangers.attempt, listener, messages, b"ps9", **known[name])
                strangers.require_kept_out(listener, outcome, "a client", name)
            job.survives(f"a client with {name}")
    reports = job.end(reference)
    for role in ("scheduler", "server-0", "server-1"):
        assert reports[role] == ["byteps: turned away a connection from 10.99.0.3: it is not a process of this job"]
