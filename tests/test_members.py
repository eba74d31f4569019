"""Members that do what no worker does: the server counts nothing twice, and drops what fits no round or ends the job.

Both workers of a job with one server have no engine (:mod:`member`): the test decides what they send, and when.
"""

import re
import threading

from byteps_gc.cluster import roles, secret, supervisor
import pytest

import marks
from member import SECONDS, Member

pytestmark = pytest.mark.cluster

ENDED, DISAGREE = supervisor.PEER_LOST, 70  # the statuses of others, and of a server whose workers disagree
OURS = "byteps: "  # what lines of the engine begin with
HALF = 5  # float16 instead of float32 in a push


class Job:
    """A scheduler, a server and two members."""

    def __init__(self, commands, file):
        cluster = roles.Cluster(2, 1, port=supervisor.free_port())

        def start(role):
            env = roles.environment(cluster, role, address=roles.LOOPBACK, base={"BYTEPS_GC_SECRET_FILE": str(file)})
            return commands.start(*supervisor.BPSLAUNCH, **dict(env, BYTEPS_GC_ROLE=role))

        self.processes = [start("scheduler"), start("server")]
        self.members = [Member(number, cluster.port, secret.load(file)) for number in range(2)]
        self.each(Member.meet, Member.barrier, Member.pass_barrier)

    def each(self, *steps):
        """Each member does each step."""
        for step in steps:
            for one in self.members:
                step(one)

    def exchange(self, *pairs):
        """One round: each member pushes, and gets the sum."""
        for one, values in zip(self.members, pairs):
            one.push(*values)
        wanted = [sum(values) for values in zip(*pairs)]
        assert [one.answer() for one in self.members] == [wanted] * 2

    def end(self):
        """End it as workers do; returns what the server reports."""
        for one in self.members:
            assert one.silent()
            one.barrier()
        for one in self.members:
            one.pass_barrier()
            one.say("bye")
        nothing, drops = self.reports(0, 0)
        assert nothing == []
        return drops

    def fails(self):
        """The one line with which the server ends the job, which the scheduler repeats."""
        (line,), repeated = self.reports(ENDED, DISAGREE)
        assert repeated == [line]
        return line

    def reports(self, *statuses):
        """What scheduler and server report until they end, with these statuses."""
        said = [marks.rest_of_output(process, SECONDS).splitlines() for process in self.processes]
        assert [process.returncode for process in self.processes] == [*statuses], said
        return [[line[len(OURS) :] for line in lines if line.startswith(OURS)] for lines in said]

    def wait_for_report(self):
        """The next line that the server reports: all that was sent before has been received."""
        server = self.processes[1]
        watchdog = threading.Timer(SECONDS, server.kill)
        watchdog.start()
        try:
            return next((line[len(OURS) : -1] for line in server.stdout if line.startswith(OURS)), "nothing")
        finally:
            watchdog.cancel()


@pytest.fixture
def started(commands, tmp_path):
    """Such a job, which ends with the test."""
    try:
        one = Job(commands, secret.make(tmp_path / "secret"))
        yield one
        for member in one.members:
            member.close()
    finally:
        commands.end()


@pytest.fixture
def job(started):
    """Such a job, whose members have announced the tensor "a"."""
    started.each(Member.announce, Member.answer)
    return started


def test_a_tensor_of_some_workers_does_not_wait_for_others(started):
    first, other = started.members
    first.announce(workers=1)
    assert first.answer() == []
    for values in ([1.0, 2.0], [3.0, 4.0]):
        first.push(*values)
        assert first.answer() == values
    assert other.silent()
    other.announce(workers=1)
    assert "announces 'a', which 1 other workers exchange" in started.fails()


def test_workers_that_disagree_about_who_exchanges_a_tensor_end_the_job(started):
    first, other = started.members
    first.announce()
    other.announce(workers=1)
    # which announcement arrives first is open
    assert re.search(r"exchanges 'a' among [01] workers, worker-[01] on \S+ among [10] \(0: all\)", started.fails())


def test_a_repeated_push_is_counted_once(job):
    """Of the last round, it is answered again, as after a connection was lost; of an earlier one, it is dropped."""
    first, second = job.members
    job.exchange((1, 2), (10, 20))
    last = first.push(3, 4)
    first.push(9, 9, timestamp=last)
    first.push(1, 2, timestamp=last - 1)
    assert job.wait_for_report() == f"dropped a repeated push of an earlier round from {first.name}"
    second.push(30, 40)
    assert [one.answer() for one in job.members] == [[33, 44]] * 2
    first.push(3, 4, timestamp=last)
    assert first.answer() == [33, 44]
    first.push(1, 2, timestamp=last - 1)
    job.exchange((5, 6), (50, 60))
    assert job.end() == []


def test_pulls_that_fit_no_round_are_dropped(job):
    """Of a tensor that does not exist, before a push, and after a push whose answer is the sum."""
    first, second = job.members
    first.pull(key=77)
    first.pull()
    job.exchange((1, 2), (10, 20))
    first.pull()
    last = first.push(3, 4)
    first.pull()
    drops = ("a request for a key that was not announced", "a pull before a push", "a second request for one sum")
    assert [job.wait_for_report() for _ in drops] == [f"dropped {what} from {first.name}" for what in drops]
    second.push(30, 40)
    assert (first.answer(last), second.answer()) == ([33, 44], [33, 44])
    job.exchange((5, 6), (50, 60))
    assert job.end() == []


@pytest.mark.parametrize(
    "values, head, why",
    [
        ((1, 2), 0, "pushes 'a' again before it has the sum of its last push"),
        ((1,), 0, "pushes 4 bytes of 'a', which has 8"),
        ((1, 2, 3), 0, "pushes 12 bytes of 'a', which has 8"),
        ((1, 2), HALF, "pushes 'a' as float16 after it was announced as float32"),
    ],
)
def test_a_wrong_push_ends_the_job(job, values, head, why):
    """All processes end with one line that names the member."""
    first, second = job.members
    job.exchange((1, 2), (10, 20))
    (second if len(values) != 2 else first).push(1, 2)
    first.push(*values, head=head)
    assert job.fails() == f"{first.name} {why}"
