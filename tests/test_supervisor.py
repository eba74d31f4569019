"""What a machine's roles are watched by: whoever is late, and a machine that stands still."""

import itertools
import sys
import time

from byteps_gc import clock
from byteps_gc.cluster import local
from byteps_gc.errors import ClusterError
import pytest


def roles(**seconds):
    """Roles that live for so many seconds, and end well."""
    sleep = "import sys, time; time.sleep(float(sys.argv[1]))"
    return [local.Role(name, [sys.executable, "-c", sleep, str(span)], {}) for name, span in seconds.items()]


def test_a_worker_that_goes_on_without_its_server_is_told(tmp_path):
    supervisor = local.Supervisor(tmp_path, grace=0.5)
    with pytest.raises(ClusterError, match=r"^server exited while workers were still running; log: .*server\.log"):
        supervisor.run(roles(server=0, worker=60))


def test_a_machine_that_stands_still_accuses_nobody(tmp_path, monkeypatch):
    """Between a server's end and its worker's, the clock goes on for more than the grace while nothing runs."""
    supervisor, ahead = local.Supervisor(tmp_path, grace=5), [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda real=time.monotonic: real() + ahead[0])

    def stand_still():
        if supervisor.left_at is not None and not ahead[0]:
            ahead[0] = 100.0

    supervisor.tick = stand_still
    supervisor.run(roles(server=0, worker=2))
    assert ahead == [100.0]


def test_time_between_two_looks_is_bounded(monkeypatch):
    now = itertools.chain([10.0, 10.25, 60.0, 60.5])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(now))
    lived = clock.Lived(most=2.0)
    assert [lived.seconds() for _ in range(3)] == [0.25, 2.25, 2.75]


FORKS = """
import os, signal
from byteps_gc.processes import popen
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    popen(["true"]).wait()
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_during_a_fork_is_not_lost(commands):
    """Python ignores what is raised while it runs what a module wants done at a fork, as logging does."""
    result = commands.python("-c", FORKS)
    assert (result.status, result.output) == (0, "interrupted\n")
