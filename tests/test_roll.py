"""The hosts of a run learn of each other's failures; here each host is a thread, on its own loopback address."""

import socket
import threading
import time

from byteps_gc.cluster import roll
from byteps_gc.cluster.host import Host
from byteps_gc.cluster.local import free_port
from byteps_gc.cluster.roll import Roll
from byteps_gc.errors import ClusterError
import pytest

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Member(Host):
    """A host of three on this machine, which cannot tell its own address from the others'."""

    schedules = property(lambda self: self.hosts[self.index] == self.scheduler)


def run(*stories, words=("onebit",), port=0, scheduler=0):
    """Run a story for each host, a function of its roll; returns what each one raised, or None."""
    port = port or free_port()
    ends = [None] * len(stories)

    def live(index):
        member = Member(ADDRESSES[: len(stories)], ADDRESSES[scheduler], port, 1, 2, "", index)
        mine = words[index] if isinstance(words, list) else words
        try:
            with Roll(member, mine) as one:
                stories[index](one)
        except ClusterError as error:
            ends[index] = str(error)

    threads = [threading.Thread(target=live, args=(index,)) for index in range(len(stories))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    return ends


def work(seconds):
    """Gather, and look at the others for so long."""

    def story(one):
        one.gather()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            one.check()
            time.sleep(0.01)

    return story


def fail(one):
    one.gather()
    error = ClusterError("worker-0 was killed by SIGKILL\n  its last lines")
    one.tell(error)
    raise error


def refuse(one):
    raise ClusterError("job onebit: no CIFAR100 here")


@pytest.mark.parametrize("limit", ["", "2", "300"])
def test_a_silent_host_is_gone_when_the_engine_has_said_so(monkeypatch, limit):
    """Without power or network, or while its machine stands still, a host is silent for that long; then it is gone."""
    monkeypatch.setenv("BYTEPS_GC_DEATH_TIMEOUT", limit)
    with socket.create_server((ADDRESSES[0], 0)) as door, socket.create_connection(door.getsockname()) as connection:
        peer = roll.Peer(connection, "host-2").connection
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        idle, interval, count = (peer.getsockopt(socket.IPPROTO_TCP, option) for option in options)
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert 1 < (idle + count * interval) / int(limit or 60) < 4


def test_all_may_end_at_their_own_time():
    assert run(work(0.3), work(0), work(0.6)) == [None, None, None]
    assert run(work(0.0), work(0.5), work(0.3)) == [None, None, None]
    assert run(work(0)) == [None]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_failure_reaches_all(who):
    """Before the start and after it, from the host that schedules and from another."""
    for failure, why in ((fail, "worker-0 was killed by SIGKILL"), (refuse, "job onebit: no CIFAR100 here")):
        stories = [work(10)] * 3
        stories[who] = failure
        ends = run(*stories)
        assert ends.pop(who).splitlines()[0] == why
        assert ends == [f"host {ADDRESSES[who]} has failed: {why}"] * 2


def test_who_goes_without_a_word_has_failed():
    def vanish(one):
        one.gather()
        for peer in one.peers:
            peer.done = True

    ends = run(work(10), work(10), vanish)
    assert ends == ["host 127.0.0.3 has failed: its run ended without reporting a reason"] * 2 + [None]


def test_hosts_that_do_not_come_are_named(monkeypatch, capsys):
    monkeypatch.setattr(roll, "PATIENCE", 1.0)
    monkeypatch.setattr(roll, "NOTICE", 0.5)
    monkeypatch.setattr(roll, "FAREWELL", 0.1)
    ends = run(work(0), lambda one: None, work(0))
    assert ends[0] == "127.0.0.2 did not join this run within 1 s"
    assert ends[2] == "host 127.0.0.1 has failed: 127.0.0.2 did not join this run within 1 s"
    assert capsys.readouterr().out == "waiting for 127.0.0.2 to join this run\n"


def test_a_port_that_somebody_else_has(monkeypatch):
    monkeypatch.setattr(roll, "PATIENCE", 0.5)
    monkeypatch.setattr(roll, "FAREWELL", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ends = run(work(0), work(0), port=port)
    assert ends[0] == f"the other hosts cannot connect to 127.0.0.1:{port}: Address already in use"
    assert ends[1] == f"127.0.0.1:{port} answers, but is not a run that is starting"


def test_all_must_run_the_same():
    ends = run(work(10), work(10), work(10), words=[["topk"], ["topk"], ["topk", "--k", "0.01"]])
    why = "127.0.0.3 was asked to run 'topk --k 0.01', but this host was asked to run 'topk'"
    assert ends == [why, f"host 127.0.0.1 has failed: {why}", f"host 127.0.0.1 has failed: {why}"]


@pytest.mark.parametrize("scheduler", [0, 1])
def test_all_follow_the_first_hosts_plan(scheduler):
    """Whichever host schedules, and whatever the others would have done."""
    heard = []

    def story(one):
        mine = ["first's", ["onebit", "epoch-3"]] if one.host.index == 0 else ["another's"]
        heard.append(one.gather(mine))

    assert run(story, story, story, scheduler=scheduler) == [None, None, None]
    assert heard == [["first's", ["onebit", "epoch-3"]]] * 3
