"""Strangers on the network: nothing they send changes, ends, slows or bloats a job, and with a secret none gets in."""

import socket

from byteps_gc.cluster import roles, secret, supervisor
import pytest

import attacker
import forged
import marks
import strangers

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("attacks")]

SECONDS = 10  # within which a stray ends
TURNED_AWAY = 67  # the status of a process that the scheduler does not let in
MANY = 300  # connections
FILES = 200  # that scheduler and servers may open then
# clients that no process of the job is; "ps9" and "ps11" are its workers on servers, where only a secret tells
# them from others
NOT_WORKERS = (b"", b"ps13", b"psX", b"ps", b"ps1", b"ps8", b"ps09", b"ps+9", b"ps4294967305", b"scheduler")
ANYBODY = (b"ps9", b"ps11", *NOT_WORKERS)


@pytest.fixture
def key_file(tmp_path):
    """A new secret."""
    return secret.make(tmp_path / "secret")


def make_noise(job):
    """Everything that needs no secret: noise, floods and many connections."""
    listeners = job.listeners()
    assert sorted(listener.role for listener in listeners) == ["scheduler", "server-0", "server-1"]
    with attacker.held(listeners), attacker.held(listeners, attacker.greeting()):
        job.survives_noise(attacker.NOISE)
        for name, (beginning, chunk) in attacker.FLOODS.items():
            for listener in listeners:
                with listener.connect() as connection:
                    assert attacker.flood(connection, beginning, chunk) < attacker.MOST
            job.survives(name)
        for mechanism in (b"NULL", b"PLAIN", b"CURVE"):
            with attacker.held(listeners, attacker.unfinished_handshake(mechanism), 10):
                job.survives(f"10 unfinished handshakes of {mechanism.decode()}")
    with attacker.held(listeners, count=MANY):
        job.survives(f"{MANY} connections")
    job.limit_files(FILES)
    with attacker.held(listeners, count=MANY):
        job.survives(f"{MANY} connections to processes that may open {FILES} files")


@pytest.mark.slow
def test_noise_without_a_secret(attacked, reference):
    """Clients that speak ZeroMQ's language, and the job's, but are none of its processes."""
    job = attacked()
    make_noise(job)
    listeners = job.listeners()
    for name, data in attacker.FRAMES.items():
        for listener in listeners:
            attacker.say_as_client(listener, data)
        job.survives(name)
    for name, (beginning, chunk) in attacker.CLIENT_FLOODS.items():
        for listener in listeners:
            with attacker.client(listener) as connection:
                assert attacker.flood(connection, beginning, chunk) < attacker.MOST
        job.survives(name)
    for name, messages in forged.everything().items():
        data = b"".join(map(attacker.message, messages))
        for listener in listeners:
            for identity in ANYBODY if listener.role == "scheduler" else NOT_WORKERS:
                answer = attacker.say_as_client(listener, data, identity)
                assert listener.role == "scheduler" or not answer
            job.survives(f"forged {name} to {listener.role}")
    strangers.require_reported(job.end(reference), "127.0.0.1")


@pytest.mark.slow
@pytest.mark.parametrize("encrypt", ["1", "0"], ids=["encrypted", "authenticated"])
def test_nobody_gets_in_without_the_secret(attacked, reference, key_file, encrypt):
    """A forger who knows all but the secret receives nothing but the handshake's beginning."""
    job = attacked(secret=key_file, BYTEPS_GC_ENCRYPT=encrypt)
    make_noise(job)
    keys = secret.load(key_file)
    messages = [message for some in forged.everything().values() for message in some]
    for listener in job.listeners():
        for name, options in strangers.intruders(keys).items():
            for identity in (b"ps9", b"ps13"):
                outcome = strangers.attempt(listener, messages, identity, **options)
                strangers.require_kept_out(listener, outcome, f"{identity}", name)
            job.survives(f"a client with {name} at {listener.role}")
        welcome = strangers.attempt(listener, messages, b"ps13", **strangers.member(keys))
        assert welcome.welcome == (encrypt == "1" or listener.role == "scheduler")
        job.survives(f"a member's nonsense at {listener.role}")
        answer = attacker.say(listener, welcome.sent)
        assert strangers.commands(answer) <= {b"WELCOME", b"ERROR"}
        job.survives(f"a replay at {listener.role}")
    reports = job.end(reference)
    for name in ("scheduler", "server-0", "server-1"):
        assert "byteps: turned away a connection from 127.0.0.1: it is not a process of this job" in reports[name]


def test_strays_are_turned_away(attacked, reference, key_file, tmp_path):
    """A worker and a server that were started by mistake with the address of a running job, or with another secret."""
    job = attacked(secret=key_file)
    port, other = job.cluster.port, str(secret.make(tmp_path / "other"))
    here = f"the scheduler at 127.0.0.1:{port} does not accept"
    runs = "the job at this address runs already: 2 workers and 2 servers"
    differs = "it is another program or version, or its secret differs (BYTEPS_GC_SECRET_FILE)"
    lines = {
        "worker-0": f"{here} worker-0 on 127.0.0.1: {runs}",
        "server": f"{here} server on 127.0.0.2: {runs}",
        "another secret": f"what answers at 127.0.0.1:{port} does not accept worker-0 on 127.0.0.1: {differs}",
    }
    strays = {
        "worker-0": ("worker", {}),
        "server": ("server", {}),
        "another secret": ("worker", {"BYTEPS_GC_SECRET_FILE": other}),
    }
    for name, (role, env) in strays.items():
        process = job.stray(role, **env)
        if role == "worker":
            assert process.stdout.readline() == "calls\n"
        output = marks.rest_of_output(process, SECONDS)
        said = [line for line in output.splitlines() if line.startswith("byteps: ")]
        assert (process.returncode, said) == (TURNED_AWAY, [f"byteps: {lines[name]}"])
        job.survives(f"a stray {name}")
    reports = job.end(reference)
    assert not any(report for role, report in reports.items() if role != "scheduler"), reports


def test_a_port_of_another_program_turns_a_process_away(commands):
    """It speaks SSH where a server expects the scheduler."""
    with socket.create_server((roles.LOOPBACK, 0)) as listener:
        cluster = roles.Cluster(1, 1, port=listener.getsockname()[1])
        server = commands.start(
            *supervisor.BPSLAUNCH, **roles.environment(cluster, "server", address="127.0.0.2", base={})
        )
        listener.settimeout(SECONDS)
        caller, _ = listener.accept()
        with caller:
            caller.sendall(attacker.NOISE["an SSH banner"])
            output, _ = server.communicate(timeout=SECONDS)
    why = "it is another program or version, or its secret differs (BYTEPS_GC_SECRET_FILE)"
    line = f"byteps: what answers at 127.0.0.1:{cluster.port} does not accept server on 127.0.0.2: {why}\n"
    assert server.returncode == TURNED_AWAY and output.endswith(line), output
