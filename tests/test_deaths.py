"""A process that dies or stops ends its whole job, and every survivor says who it was."""

import os
import signal
import subprocess
import sys
import time

from byteps_gc.cluster import roles, secret, supervisor
from byteps_gc.cluster.supervisor import PEER_LOST
import pytest

from conftest import FOR_EVER, FOR_EVER_IN_MXNET
import marks

pytestmark = pytest.mark.cluster

LIMIT = 3  # seconds of silence that are a death here
START = 12  # seconds in which all have arrived here that ever will, however busy the machine is


class Job:
    """The roles of a job, each started by itself: nobody but the engine watches over them."""

    def __init__(self, commands, workers=2, servers=1, program=FOR_EVER, **env):
        self.commands = commands
        self.program = program
        self.cluster = roles.Cluster(workers, servers, port=supervisor.free_port())
        file = secret.make(commands.folder / f"secret-{self.cluster.port}")
        self.env = {"BYTEPS_GC_DEATH_TIMEOUT": str(LIMIT), "BYTEPS_GC_SECRET_FILE": str(file), **env}
        self.running = {}

    def start(self, name):
        """Start "scheduler", "server-0", "worker-1", ..."""
        role, _, number = name.partition("-")
        variables = roles.environment(self.cluster, role, int(number or 0), roles.LOOPBACK, base=self.env)
        self.running[name] = self.commands.start(
            sys.executable, "-m", "byteps_gc", "role", "--", sys.executable, "-c", self.program, **variables
        )

    def start_all(self):
        for name in ("scheduler", "server-0", "worker-0", "worker-1"):
            self.start(name)
        self.exchange()
        return self

    def exchange(self):
        """Wait until each worker has exchanged something from now on."""
        begun = time.monotonic()
        for name in ("worker-0", "worker-1"):
            at = 0.0
            while at < begun:
                line = self.running[name].stdout.readline()
                assert line, f"{name} has ended"
                at = float(line.split()[-1]) if line.startswith("running at ") else 0.0

    def ends(self, seconds, but=()):
        """What each role but some said last, when all have ended with the status for a lost process."""
        said = {}
        for name, process in self.running.items():
            if name not in but:
                output = marks.rest_of_output(process, seconds)
                assert process.returncode == PEER_LOST, f"{name}: {process.returncode}\n{output}"
                (said[name],) = [line for line in output.splitlines() if line.startswith("byteps: ")]
        return said


@pytest.mark.parametrize(
    "victim, program",
    [("worker-1", FOR_EVER), ("server-0", FOR_EVER), ("scheduler", FOR_EVER), ("worker-1", FOR_EVER_IN_MXNET)],
    ids=["worker", "server", "scheduler", "worker with MXNet"],
)
def test_a_killed_process_ends_the_job_at_once(commands, victim, program):
    job = Job(commands, program=program, BYTEPS_GC_DEATH_TIMEOUT="600").start_all()
    job.running[victim].kill()
    for line in job.ends(60, but=[victim]).values():
        assert line.startswith(f"byteps: {victim.replace('server-0', 'server')} on 127.0.0.1 has died"), line
        assert "run.sh JOB --resume" in line


@pytest.mark.parametrize("victim", ["worker-1", "server-0", "scheduler"])
def test_a_stopped_process_ends_the_job_after_the_limit(commands, victim):
    job = Job(commands).start_all()
    job.running[victim].send_signal(signal.SIGSTOP)
    for line in job.ends(60, but=[victim]).values():
        who = victim.replace("server-0", "server")
        assert line.startswith(f"byteps: {who} on 127.0.0.1 has been silent for {LIMIT} s: it has stopped"), line
    job.running[victim].send_signal(signal.SIGCONT)  # it finds that the others have gone
    job.running[victim].communicate(timeout=60)
    assert job.running[victim].returncode == PEER_LOST


def test_a_process_that_stops_for_a_moment_is_waited_for(commands):
    job = Job(commands, BYTEPS_GC_DEATH_TIMEOUT="20").start_all()
    for name in ("worker-0", "server-0", "scheduler"):
        job.running[name].send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):  # the moment
            job.running["worker-1"].wait(1.5)
        job.running[name].send_signal(signal.SIGCONT)
    job.exchange()
    assert all(process.poll() is None for process in job.running.values())
    commands.end()


def test_a_process_that_never_arrives(commands):
    """A worker, a server, or the scheduler of three jobs that run at the same time."""
    no_worker = Job(commands, BYTEPS_GC_START_TIMEOUT=str(START))
    for name in ("scheduler", "server-0", "worker-0"):
        no_worker.start(name)
    no_server = Job(commands, servers=2, BYTEPS_GC_START_TIMEOUT=str(START))
    for name in ("scheduler", "server-0", "worker-0", "worker-1"):
        no_server.start(name)
    no_scheduler = Job(commands, BYTEPS_GC_START_TIMEOUT="2")
    no_scheduler.start("server-0")
    (line,) = no_scheduler.ends(40).values()
    assert f"the scheduler at 127.0.0.1:{no_scheduler.cluster.port} did not start the job within 2 s; start the" in line
    what = f"did not connect to the scheduler on 127.0.0.1 within {START} s."
    for job, who in ((no_worker, "worker 1"), (no_server, "1 of 2 servers")):
        for line in job.ends(START + 40).values():
            assert line.startswith(f"byteps: {who} {what}"), line


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", ["worker-1", "server-0", "scheduler"])
def test_under_the_launcher(commands, victim, sig):
    command = [sys.executable, "-m", "byteps_gc", "launch", "--servers", "1", "--", sys.executable, "-c", FOR_EVER]
    child = commands.start(*command, BYTEPS_GC_DEATH_TIMEOUT=str(LIMIT))
    seen = ""
    while seen.count("| running") < 2:
        line = child.stdout.readline()
        assert line, seen
        seen += line
    os.kill(commands.role(victim).pid, sig)
    output = marks.rest_of_output(child, 60)
    last = [line for line in output.splitlines() if line.startswith("byteps_gc: ")][-1]
    assert child.returncode == (128 + sig if sig == signal.SIGKILL else PEER_LOST), output
    if sig == signal.SIGKILL:
        assert f"{victim} was killed by SIGKILL" in last
    else:
        assert f"{victim} on 127.0.0.1 has been silent for {LIMIT} s" in last


def test_limits_that_are_no_numbers(commands):
    for name, value in (("BYTEPS_GC_DEATH_TIMEOUT", "1"), ("BYTEPS_GC_START_TIMEOUT", "soon")):
        result = commands.python("-m", "byteps_gc", "role", DMLC_ROLE="scheduler", **{name: value})
        assert result.status == 2 and f"{name}={value} is not an integer from " in result.output
