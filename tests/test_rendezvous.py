"""The rendezvous of a run's hosts, each a thread with a loopback address of its own."""

import contextlib
import json
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback

import byteps_gc
from byteps_gc.cluster import rendezvous
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.rendezvous import Rendezvous, equality, messages
from byteps_gc.cluster.rendezvous.connection import Connection
from byteps_gc.cluster.rendezvous.errors import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousRefusedError,
    RendezvousTimeoutError,
)
from byteps_gc.cluster.rendezvous.listener import Listener
from byteps_gc.cluster.rendezvous.peer import LOST
from byteps_gc.cluster.secret import Keys
from byteps_gc.cluster.supervisor import free_port
from byteps_gc.errors import ClusterError
import pytest
import zmq

from conftest import ROOT
import marks

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ENDED_BY_THE_FIRST = [RendezvousRefusedError, RendezvousClosedError, RendezvousClosedError]  # of three hosts


class LoopbackHost(Host):
    """A host of three on this machine, which cannot tell its own address from the others'."""

    schedules = property(lambda self: self.hosts[self.index] == self.scheduler)


def run(*stories, words=("onebit",), port=0, scheduler=0, keys=None):
    """Run a function of its rendezvous on each host; return what each raised, or None.

    keys: each host's key pair.
    """
    port = port or free_port()
    ends = [None] * len(stories)

    def live(index):
        host = LoopbackHost(ADDRESSES[: len(stories)], ADDRESSES[scheduler], port, 1, 2, "", index)
        mine = words[index] if isinstance(words, list) else words
        try:
            with Rendezvous(host, mine) as one:
                one.keys = keys[index] if keys else None
                stories[index](one)
        except ClusterError as error:
            ends[index] = error

    threads = [threading.Thread(target=live, args=(index,), daemon=True) for index in range(len(stories))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), stacks(threads)
    return ends


def stacks(threads):
    """Return where these threads are."""
    frames = sys._current_frames()
    return "\n".join("".join(traceback.format_stack(frames[one.ident])) for one in threads if one.is_alive())


def said(ends, *kinds):
    """Return the text of each error, None for none; the errors must be of these classes, in their order."""
    assert [type(end) for end in ends if end is not None] == list(kinds)
    return [end and str(end) for end in ends]


def keys():
    """A new key pair."""
    return Keys(*zmq.curve_keypair())


def work(seconds):
    """Join, and check the other hosts for some seconds."""

    def story(one):
        one.join()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            one.check()
            time.sleep(0.01)

    return story


def fail(one):
    one.join()
    error = ClusterError("worker-0 was killed by SIGKILL\n  its last lines")
    one.report(error)
    raise error


def refuse(one):
    raise ClusterError("job onebit: no CIFAR100 here")


def test_hosts_may_finish_at_different_times():
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
        assert str(ends.pop(who)).splitlines()[0] == why
        assert said(ends, *[RendezvousClosedError] * 2) == [f"host {ADDRESSES[who]} has failed: {why}"] * 2
        assert {(end.host, end.reason) for end in ends} == {(ADDRESSES[who], why)}


def test_a_host_that_disconnects_silently_has_failed():
    def vanish(one):
        one.join()
        for peer in one.peers:
            peer.done = True

    ends = said(run(work(10), work(10), vanish), *[RendezvousClosedError] * 2)
    assert ends == [f"host 127.0.0.3 has failed: {LOST}"] * 2 + [None]


def test_missing_hosts_are_named(monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "JOIN_TIMEOUT", 1.0)
    monkeypatch.setattr(rendezvous, "NOTICE", 0.5)
    monkeypatch.setattr(rendezvous, "REPORT_TIMEOUT", 0.1)
    ends = said(run(work(0), lambda one: None, work(0)), RendezvousTimeoutError, RendezvousClosedError)
    assert ends[0] == "127.0.0.2 did not join this run within 1 s"
    assert ends[2] == "host 127.0.0.1 has failed: 127.0.0.2 did not join this run within 1 s"
    assert capsys.readouterr().out == "waiting for 127.0.0.2 to join this run\n"


def test_a_port_in_use(monkeypatch):
    monkeypatch.setattr(rendezvous, "JOIN_TIMEOUT", 0.5)
    monkeypatch.setattr(rendezvous, "REPORT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ends = said(run(work(0), work(0), port=port), RendezvousConnectionError, RendezvousTimeoutError)
    assert ends[0] == f"the other hosts cannot connect to 127.0.0.1:{port}: Address already in use"
    why = f"127.0.0.1:{port} answers, but is not a run that is starting"
    assert ends[1] == f"127.0.0.1 did not join this run within 0 s: {why}"


def test_all_must_run_the_same():
    ends = run(work(10), work(10), work(10), words=[["topk"], ["topk"], ["topk", "--k", "0.01"]])
    ends = said(ends, *ENDED_BY_THE_FIRST)
    why = "127.0.0.3 was asked to run 'topk --k 0.01', but this host was asked to run 'topk'"
    assert ends == [why, f"host 127.0.0.1 has failed: {why}", f"host 127.0.0.1 has failed: {why}"]


@pytest.mark.parametrize("scheduler", [0, 1])
def test_all_follow_the_first_hosts_plan(scheduler):
    """Whichever host schedules, and whatever the others would have done."""
    plans = []

    def story(one):
        mine = [["onebit", "epoch-3"], ["topk", ""]] if one.host.index == 0 else [["topk", "epoch-7"]]
        plans.append(one.join(mine))

    assert run(story, story, story, scheduler=scheduler) == [None, None, None]
    assert plans == [[["onebit", "epoch-3"], ["topk", ""]]] * 3


GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"
NOISE = {
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(500),
    "HTTP": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "RDP": bytes.fromhex("0300002b26e00000000000436f6f6b69653a206d737473686173683d6e6d61700d0a0100080003000000"),
    "SIP": b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm;branch=foo\r\n\r\n",
    "redis": b"*1\r\n$4\r\nINFO\r\n",
    "random bytes": random.Random(0).getrandbits(8 << 20).to_bytes(1 << 20, "big"),
    "a line of JSON": b'{"kind": "hello", "host": "127.0.0.2"}\n',
    "half a greeting": GREETING[:11],
    "the greeting of ZeroMQ 2": b"\x01\x00",
    "half a handshake": GREETING + b"NULL" + bytes(48) + b"\x04\x19\x05READY",
    "a large frame": GREETING[:10] + b"\x01\x00\x02" + (1 << 40).to_bytes(8, "big"),
    "nothing": b"",
}
NULL = "was turned away: this host has a secret (BYTEPS_GC_SECRET_FILE), but it has none"  # half a handshake
NO_MESSAGE = "connected to the port of this run and sent no valid message"


def first_at(port):
    """Wait until somebody listens there."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=5, source_address=("127.0.0.9", 0))
        time.sleep(0.01)
    raise AssertionError(f"nobody listens at {port}")


def run_disturbed(disturb, with_secret):
    """Run three hosts; the last one calls ``disturb(port, pair)`` before it joins, and again during the run."""
    port, pair, over = free_port(), keys() if with_secret else None, threading.Event()

    def last(one):
        first_at(port).close()
        disturb(port, pair)
        work(0.5)(one)
        disturb(port, pair)
        over.set()

    def other(one):
        one.join()
        while not over.wait(0.01):
            one.check()

    assert run(other, other, last, port=port, keys=[pair] * 3) == [None] * 3


@pytest.mark.parametrize("with_secret", [True, False])
def test_strangers_are_ignored(capsys, with_secret):
    """They neither delay nor end a run, before its start and in it, and each is reported once."""
    strangers = []

    def annoy(port, pair):
        for number, data in enumerate(NOISE.values(), 10):
            for _ in range(2):
                source = (f"127.0.0.{number}", 0)
                strangers.append(socket.create_connection(("127.0.0.1", port), timeout=5, source_address=source))
                with contextlib.suppress(OSError):
                    strangers[-1].sendall(data)

    run_disturbed(annoy, with_secret)
    for stranger in strangers:
        stranger.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines and len(lines) == len(set(lines))
    assert all(line.endswith((NO_MESSAGE, NULL)) and not line.startswith("127.0.0.1 ") for line in lines), lines


def hosts_with(pairs, monkeypatch, capsys):
    """Gather with these key pairs; returns what each host raised, and what was printed."""
    monkeypatch.setattr(rendezvous, "JOIN_TIMEOUT", 2.0)
    monkeypatch.setattr(rendezvous, "NOTICE", 0.5)
    monkeypatch.setattr(rendezvous, "REPORT_TIMEOUT", 0.1)
    ends = said(run(work(0), work(0), keys=pairs), *[RendezvousTimeoutError] * 2)
    return ends, capsys.readouterr().out.splitlines()


def test_a_host_with_a_different_secret_is_reported(monkeypatch, capsys):
    ends, lines = hosts_with([keys(), keys()], monkeypatch, capsys)
    why = "was turned away: its secret differs (BYTEPS_GC_SECRET_FILE)"
    assert ends[0] in [f"127.0.0.2 did not join this run within 2 s: {who} {why}" for who in ("127.0.0.1", "a host")]
    ended = "127.0.0.1 ends the connection: the secrets may differ (BYTEPS_GC_SECRET_FILE)"
    assert ends[1] == f"127.0.0.1 did not join this run within 2 s: {ended}"
    assert f"waiting for 127.0.0.1 to join this run: {ended}" in lines
    assert any(line.startswith("waiting for 127.0.0.2 to join this run: ") and line.endswith(why) for line in lines)


@pytest.mark.parametrize("who", [0, 1])
def test_a_host_without_a_secret_is_reported(monkeypatch, capsys, who):
    pairs = [None, None]
    pairs[who] = keys()
    ends, lines = hosts_with(pairs, monkeypatch, capsys)
    texts = [
        "this host has a secret (BYTEPS_GC_SECRET_FILE), but it has none",
        "it has a secret (BYTEPS_GC_SECRET_FILE), but this host has none",
    ]
    ended = "ends the connection: the secrets may differ (BYTEPS_GC_SECRET_FILE)"  # before this host has seen why
    likely = [f"turned this host away: {texts[1 - who]}", ended]
    assert ends[1] in [f"127.0.0.1 did not join this run within 2 s: 127.0.0.1 {why}" for why in likely]
    assert ends[0].startswith("127.0.0.2 did not join this run within 2 s: ")
    assert ends[0].endswith(f" was turned away: {texts[who]}")
    assert len([line for line in lines if line.startswith("waiting for ")]) >= 2


def test_all_must_have_the_same_settings(monkeypatch):
    def settings(host):
        return {"byteps_gc ": "1.0", "BYTEPS_PARTITION_BYTES=": "1024000" if host.index == 2 else "4096000"}

    monkeypatch.setattr(rendezvous, "settings", settings)
    ends = said(run(work(10), work(10), work(10)), *ENDED_BY_THE_FIRST)
    why = "127.0.0.3 has BYTEPS_PARTITION_BYTES=1024000, 127.0.0.1 4096000"
    assert ends == [why, *[f"host 127.0.0.1 has failed: {why}"] * 2]


def test_what_must_be_equal(monkeypatch):
    monkeypatch.setenv("BYTEPS_MIN_COMPRESS_BYTES", "12345")
    mine = equality.settings(LoopbackHost(ADDRESSES, ADDRESSES[0], 1, 1, 2, "", 0))
    assert mine["BYTEPS_MIN_COMPRESS_BYTES="] == "12345" and mine["BYTEPS_PARTITION_BYTES="] == "(unset)"
    assert re.fullmatch("[0-9a-f]{12}", mine["engine build "]) and mine["byteps_gc "] == byteps_gc.__version__
    assert mine["BYTEPS_GC_HOSTS="] == "127.0.0.1 127.0.0.2 127.0.0.3"
    assert equality.difference("b", mine, "a", mine) == ""
    assert equality.difference("b", {"x=": "1"}, "a", {}) == "b has x=1, a (unset)"
    assert equality.difference("b", {}, "a", {"byteps_gc ": "1"}) == "b has byteps_gc (unset), a 1"


def test_hosts_compare_what_the_engines_processes_compare(monkeypatch):
    """The lists of both, and the values of variables that are not set."""
    for name in equality.ENGINE:
        monkeypatch.delenv(name, raising=False)
    mine = equality.settings(LoopbackHost(ADDRESSES, ADDRESSES[0], 1, 1, 2, "", 0))
    text = (ROOT / "byteps_gc" / "engine" / "files" / "settings.h").read_text()
    table = dict(re.findall(r'\{"(\w+)", (?:"(.*?)"|nullptr), (?:true|false)\}', text))
    assert set(table) == {"BYTEPS_GC_BUILD", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER", *equality.ENGINE}
    assert {name: table[name] for name in equality.ENGINE} == {name: mine[f"{name}="] for name in equality.ENGINE}


HELLO = {"kind": "hello", "host": "127.0.0.2", "words": ["onebit"], "settings": {}, "plan": None}


@contextlib.contextmanager
def speaker(port, pair, source):
    """A socket like that of a host, whoever uses it."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as one:
        one.linger = 2000
        if pair:
            one.curve_publickey, one.curve_secretkey = pair
            one.curve_serverkey = pair.public
        one.connect(f"tcp://{source}:0;127.0.0.1:{port}")
        yield one


MALFORMED = (
    [b""],
    [b"\xff\xfe"],
    [b"[]"],
    [b"{}"],
    [b"[" * 100000],
    [b"9" * 100000],
    [b'{"kind": "hello"}'],
    [b'{"kind": ["hello"]}'],
    [b'{"kind": "go", "plan": null}'],
    [b'{"kind": "done"}'],
    [b'{"kind": "failed", "host": "127.0.0.2", "why": "so"}'],
    [json.dumps(dict(HELLO, host=["127.0.0.2"])).encode()],
    [json.dumps(dict(HELLO, words="onebit")).encode()],
    [json.dumps(dict(HELLO, words=["onebit", None])).encode()],
    [json.dumps(dict(HELLO, plan=[["onebit"]])).encode()],
    [json.dumps(dict(HELLO, plan=[["onebit", 1]])).encode()],
    [json.dumps(dict(HELLO, settings={"a": {}})).encode()],
    [json.dumps(dict(HELLO, more="")).encode()],
    [json.dumps(HELLO).encode(), b"more"],
    [b"x" * (2 << 20)],
)


@pytest.mark.parametrize("with_secret", [True, False])
def test_malformed_messages_are_ignored(capsys, with_secret):
    """Before the start of a run and in it; each source is reported once."""

    def annoy(port, pair):
        for number, parts in enumerate(MALFORMED, 10):
            with speaker(port, pair, f"127.0.0.{number}") as one:
                one.send_multipart(parts)
                one.send_multipart(parts)

    run_disturbed(annoy, with_secret)
    lines = capsys.readouterr().out.splitlines()
    ignored = [line for line in lines if line.startswith("ignoring a message from 127.0.0.")]
    sources = [line.split(":")[0].split()[-1] for line in ignored]
    assert sources == [f"127.0.0.{number}" for number in range(10, 9 + len(MALFORMED))], lines
    assert all(line.endswith((NO_MESSAGE, NULL)) for line in lines if line not in ignored), lines
    assert max(map(len, lines)) < 120


@pytest.mark.parametrize(
    "name, why",
    [
        ("127.0.0.9", "127.0.0.9 is not in BYTEPS_GC_HOSTS on 127.0.0.1"),
        ("127.0.0.2", "another process of 127.0.0.2 has joined this run"),
        ("\x1b[2J\n", "\\x1b[2J\\n is not in BYTEPS_GC_HOSTS on 127.0.0.1"),
    ],
)
def test_a_host_that_is_not_expected_is_turned_away(capsys, name, why):
    port = free_port()

    def last(one):
        first_at(port).close()
        deadline = time.monotonic() + 10
        while "127.0.0.2" not in joined and time.monotonic() < deadline:
            time.sleep(0.01)
        with speaker(port, None, "127.0.0.10") as stranger:
            stranger.send_json(dict(HELLO, host=name))
            assert stranger.recv_json() == {"kind": "refused", "why": why}
        work(0.2)(one)

    joined = set()
    original = Rendezvous._handle

    def handle(one, peer, message):
        if message["kind"] == "hello":
            joined.add(peer.name)
        original(one, peer, message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rendezvous, "_handle", handle)
        assert run(work(0.2), work(0.2), last, port=port) == [None] * 3
    assert f"127.0.0.10 was turned away: {why}" in capsys.readouterr().out.splitlines()


def test_a_host_that_is_turned_away_says_so():
    """A fourth host with the same port, which has another list."""
    port, ends = free_port(), []

    def stray(one):
        first_at(port).close()
        mine = LoopbackHost((ADDRESSES[0], "127.0.0.9"), ADDRESSES[0], port, 1, 2, "", 1)
        with pytest.raises(RendezvousRefusedError) as info, Rendezvous(mine, ["onebit"]) as other:
            other.join()
        ends.append(str(info.value))
        work(0.2)(one)

    assert run(work(0.2), stray, port=port) == [None] * 2
    assert ends == ["127.0.0.1 turned this host away: 127.0.0.9 is not in BYTEPS_GC_HOSTS on 127.0.0.1"]


def test_a_host_of_the_next_run_waits_for_the_end_of_this_one():
    port, order = free_port(), []

    def first(one):
        work(1)(one)
        order.append("the first host leaves")

    def second(one):
        one.join()

    def next_run(one):
        one.join()
        order.append("the next run begins")

    def live(index, *stories):
        for story in stories:
            with Rendezvous(LoopbackHost(ADDRESSES[:2], ADDRESSES[0], port, 1, 2, "", index), ["onebit"]) as one:
                story(one)

    other = threading.Thread(target=live, args=(1, second, next_run))
    other.start()
    live(0, first, next_run)
    other.join(20)
    assert order == ["the first host leaves", "the next run begins", "the next run begins"]


HOST_PROGRAM = """
import sys, time
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.rendezvous import Rendezvous
class LoopbackHost(Host):
    schedules = property(lambda self: self.index == 0)
hosts = ("127.0.0.1", "127.0.0.2")
with Rendezvous(LoopbackHost(hosts, hosts[0], int(sys.argv[1]), 1, 2, "", int(sys.argv[2])), ["onebit"]) as rendezvous:
    rendezvous.join()
    print("together", flush=True)
    while True:
        rendezvous.check()
        time.sleep(0.01)
"""


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_killed_or_silent_is_lost(commands, victim, sig):
    """The death of a process is noticed at once, the silence of a host after the engine's limit."""
    port = free_port()
    variables = {"BYTEPS_GC_DEATH_TIMEOUT": "600" if sig == signal.SIGKILL else "2"}
    both = [commands.start(sys.executable, "-c", HOST_PROGRAM, str(port), str(index), **variables) for index in (0, 1)]
    for one in both:
        assert one.stdout.readline() == "together\n"
    both[victim].send_signal(sig)
    output = marks.rest_of_output(both[1 - victim], 60)
    assert f"host {ADDRESSES[victim]} has failed: {LOST}" in output
    both[victim].kill()
    both[victim].communicate()


def mutations(rng, count):
    """Messages: right ones of each kind, changed at random, and random bytes."""
    right = [json.dumps(HELLO), '{"kind": "go", "plan": [["onebit", "epoch-3"]]}', '{"kind": "done"}']
    right += [json.dumps({"kind": "failed", "host": "a", "why": "\ud800 \x1b"}), '{"kind": "refused", "why": "so"}']
    pieces = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"null",
        b"1e999",
        b"NaN",
        b'"',
        b"\\ud800",
        b"\xff",
        b":",
        b",",
        b"-" * 99,
        b"[" * 9999,
    ]
    for _ in range(count):
        data = bytearray(rng.choice(right).encode())
        for _ in range(rng.randrange(4)):
            at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
            new = rng.choice([rng.choice(pieces), bytes(rng.randrange(256) for _ in range(rng.randrange(9)))])
            data[at : end if rng.random() < 0.3 else at] = new
        yield bytes(data)


def test_no_message_raises():
    """Whatever comes is either a message with the right fields or rejected in one short line."""
    rng, seen = random.Random(25), {True: 0, False: 0}
    for data in mutations(rng, 20000):
        parts = [data] * rng.choice([1, 1, 1, 1, 0, 2])
        try:
            message = messages.parse(parts, list(messages.KINDS))
        except ValueError as error:
            seen[False] += 1
            assert len(str(error)) < 120 and str(error).isprintable()
        else:
            seen[True] += 1
            fields = messages.KINDS[message.pop("kind")]
            assert set(message) == set(fields) and all(fields[name](value) for name, value in message.items())
            assert messages.printable(str(message)).isprintable()
    assert min(seen.values()) > 1000


def test_a_broken_connection_does_not_keep_a_host_from_ending():
    """Connections inherit how long they wait for a host that has gone when the socket is bound or connected.

    They waited for ever: a race that hung about one run in a thousand.
    """
    port = free_port()
    listener = Listener("127.0.0.1", port, ["127.0.0.2"], None)
    connection = Connection("127.0.0.1", port, b"", None)
    assert listener._router.socket.linger == connection._dealer.socket.linger == 0
    connection.close()
    listener.close()


def test_a_host_whose_connection_reuses_a_file_descriptor_is_not_reported(capsys):
    """Its hello is read before the event that a stranger's connection has ended, which had the same descriptor.

    A host was reported as "sent no valid message", in about one run of a hundred with many strangers.
    """
    port, context = free_port(), zmq.Context()
    listener, dealer = Listener("127.0.0.1", port, ["127.0.0.2"], None), context.socket(zmq.DEALER)
    handles, received = [], listener._received
    stranger = first_at(port)
    listener.receive(1)
    stranger.close()

    def received_late():
        if listener.missing:  # the stranger's end has been read, the host's connection has not
            dealer.connect(f"tcp://127.0.0.1:{port}")
            hello = {"host": "127.0.0.2", "words": [], "settings": {}, "plan": None}
            dealer.send(messages.pack("hello", **hello))
            while not listener._router.socket.poll(0) and listener._zap.poll(5000):
                listener._authenticate(listener._zap.recv_multipart())
                listener._router.socket.poll(5000)
        found = received()
        handles.extend(message.handle for message in found)
        return found

    listener._received = received_late
    before = set(listener._addresses)
    list(listener.receive(5))
    assert handles and set(handles) <= before and not listener.missing  # it has reused the descriptor
    dealer.close(0)
    context.term()
    for _ in range(5):
        list(listener.receive(0.1))
    listener.close()
    assert capsys.readouterr().out.splitlines() == [f"127.0.0.9 {NO_MESSAGE}"]


def test_no_message_ends_a_run():
    """The same at a real port, from somebody who has the secret."""
    port, pair = free_port(), keys()

    def is_hello(data):
        with contextlib.suppress(ValueError):
            return messages.parse([data], ["hello"])["host"] in ADDRESSES
        return False

    def last(one):
        first_at(port).close()
        with speaker(port, pair, "127.0.0.10") as stranger:
            for data in mutations(random.Random(26), 2000):
                if not is_hello(data):
                    stranger.send(data)
        work(0.2)(one)

    ends = run(work(0.2), work(0.2), last, port=port, keys=[pair] * 3)
    assert ends == [None] * 3
