"""Connections between workers and servers that end with messages in flight: all is sent again, and counted once."""

import subprocess

from byteps_gc.cluster import namespaces, secret
import pytest

from attacked_job import SERVER_ADDRESS, SERVERS, WORKERS

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("attacks")]

RESETS = 12


def reset(port):
    """Have the kernel reset all connections to a server's port; returns how many there were."""
    where = ["dst", SERVER_ADDRESS["tcp"], "dport", "=", f":{port}"]
    done = subprocess.run(
        ["ss", "-KtnH", "state", "established", *where],
        check=True,
        env={"PATH": namespaces.PATH},
        stdout=subprocess.PIPE,
        text=True,
    )
    return len(done.stdout.splitlines())


@pytest.mark.parametrize("encrypt", ["", "1", "0"], ids=["open", "encrypted", "authenticated"])
def test_messages_in_flight_are_sent_again(attacked, tmp_path, reference, encrypt):
    """Every connection is reset again and again, at any moment of a round."""
    options = dict(secret=secret.make(tmp_path / "secret"), BYTEPS_GC_ENCRYPT=encrypt) if encrypt else {}
    job = attacked(pace=0, **options)
    servers = [listener for listener in job.listeners() if listener.role != "scheduler"]
    for number in range(RESETS):
        count = sum(reset(server.port) for server in servers)
        job.survives(f"reset {number} of {count} connections")
    assert count == WORKERS * SERVERS
    assert not any(job.end(reference).values())
