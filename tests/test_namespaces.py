"""Hosts on one machine: what they share, what their links carry, what is left of them; and the guide's run on them."""

import os
from pathlib import Path
import re
import shlex
import signal
import subprocess
import sys
import time

from byteps_gc.cluster import namespaces, secret, simulated_cluster, ssh, supervisor
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.namespaces import NamespaceHosts
from byteps_gc.cluster.roles import Cluster, environment
from byteps_gc.cluster.supervisor import PEER_LOST, UNREACHED
from byteps_gc.errors import ClusterError, SettingsError, UserError
from byteps_gc.report import record
import pytest

from conftest import EXAMPLE, FOR_EVER, ROOT, SET_UP
import marks

pytestmark = pytest.mark.xdist_group("namespaces")  # they look for what the others leave on this machine

SCRIPT = ROOT / "scripts" / "cluster_on_one_machine.sh"
RUN = [sys.executable, "-m", "byteps_gc", "run", EXAMPLE / "cifar100.ini"]
REPRODUCE = ROOT / "scripts" / "reproduce.sh"
ORDINARY_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
SMALL = "--dataset fashion-mnist --train-samples 256 --val-samples 100 --warmup-epochs 0 --lr 0.01".split()
SMALL += ["--model", "cifar_resnet20_v1"]
RECEIVE = """
import socket, sys, threading, time
def drain(peer):
    while peer.recv(1 << 16):
        pass
    peer.sendall(b"!")
server = socket.create_server((sys.argv[1], 5000))
print("ready", flush=True)
peers = [threading.Thread(target=drain, args=(server.accept()[0],)) for _ in range(int(sys.argv[2]))]
begin = time.monotonic()
for peer in peers:
    peer.start()
for peer in peers:
    peer.join()
print(time.monotonic() - begin)
"""
SEND = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 5000))
peer.sendall(bytes(int(sys.argv[2])))
peer.shutdown(socket.SHUT_WR)
assert peer.recv(1) == b"!"
"""


def outside():
    """What a cluster could leave outside its namespaces."""
    names = [Path("/run/netns"), Path("/sys/class/net"), Path("/dev/shm")]
    listed = [sorted(os.listdir(folder)) if folder.exists() else [] for folder in names]
    return [*listed, Path("/proc/self/mounts").read_text(), os.uname().nodename]


def spaces(mark=""):
    """The network namespaces of all processes, or of those with a mark in their environment."""
    return {process.space for process in marks.processes(mark)}


def role_in(space, name):
    """The process of a role in a network namespace, which has it or will soon."""
    return marks.role(name, lambda: (process for process in marks.processes() if process.space == space))


@pytest.mark.cluster
def test_hosts_are_isolated(machine):
    """Own names, which all know, addresses, processes, shared memory and files; a network that is theirs alone."""
    before = outside()
    with NamespaceHosts(2) as hosts, NamespaceHosts(1) as others:
        assert [host.address for host in hosts] == ["10.99.0.1", "10.99.0.2"]
        assert others[0].address == hosts[0].address
        assert [host.run(["hostname"]).strip() for host in hosts] == ["host-1", "host-2"]
        for host in hosts:
            assert hosts.console.run(["getent", "ahostsv4", host.name]).startswith(f"{host.address} ")
            assert hosts[1].run(["getent", "ahostsv4", host.name]).startswith(f"{host.address} ")
        for file in ("/dev/shm/mine", "/tmp/byteps_gc-mine", f"{namespaces.home()}/byteps_gc-mine", "/run/mine"):
            hosts[0].run(["touch", file])
            assert hosts[0].path(file).exists() and not hosts[1].path(file).exists() and not Path(file).exists()
        assert hosts[1].run(["pwd"], folder="/tmp") == "/tmp\n"
        assert hosts[1].run(["cat"], text="words") == "words"
        routes = hosts[0].run(["ip", "route"]).splitlines()
        assert routes == ["10.99.0.0/24 dev eth0 proto kernel scope link src 10.99.0.1 congctl cubic "]
        with pytest.raises(ClusterError, match=r"host-2: ls failed with status 2: ls: cannot access '/no'"):
            hosts[1].run(["ls", "/no"])
        inside = {os.readlink(f"/proc/{one.pid}/ns/net") for one in [*hosts, *others, hosts.console, others.console]}
        assert len(inside) == 5
        child = hosts[0].start(["sleep", "1000"])
    assert child.wait(10) != 0
    assert not inside & spaces()
    assert outside() == before


@pytest.mark.cluster
def test_a_rate_limits_both_directions(machine):
    """Two hosts send to a third: neither may send faster than the rate, nor may the third receive faster."""
    size, rate, burst = 1000000, 20e6, namespaces.LEAST_BURST
    with NamespaceHosts(3, rate="20mbit") as hosts:
        python = [sys.executable, "-c"]
        receiver = hosts[0].start([*python, RECEIVE, hosts[0].address, 2], stdout=subprocess.PIPE, text=True)
        assert receiver.stdout.readline() == "ready\n"
        senders = [host.start([*python, SEND, hosts[0].address, size]) for host in hosts[1:]]
        output = marks.rest_of_output(receiver, 60)
        assert [sender.wait(10) for sender in senders] == [0, 0]
        assert float(output) > 8 * (2 * size - 3 * burst) / rate
        for host in hosts[1:]:
            assert size < host.traffic().sent < 1.5 * size
        assert 2 * size < hosts[0].traffic().received < 3 * size
        assert hosts[0].traffic().sent < 0.2 * size


@pytest.mark.cluster
def test_the_guides_command_on_four_hosts(machine, commands, tmp_path):
    """From the script, by real sshd and pssh, to the table; BYTEPS_* variables reach the hosts."""
    before = outside()
    words = ["--hosts", 4, "--rate", "200mbit", "onebit", "--", *SMALL, "--num-epochs", 1]
    result = commands.run(SCRIPT, *words, BYTEPS_MIN_COMPRESS_BYTES="16384", BYTEPS_GC_RUN_DIR="out", **SET_UP)
    assert result.status == 0, result.output
    out = tmp_path / "out"
    row = (out / "table.md").read_text().splitlines()[2].split("|")
    assert row[1].strip() == "dist-EF-SGDM" and row[2].strip().endswith("%")
    assert float(row[5]) < 0.8  # MB a step; 1.1 are the model's
    assert result.output.count("dist-EF-SGDM") == 2  # the first host's table, and the one at the end
    assert len(re.findall(r"\[SUCCESS\] 10\.99\.0\.[1-4]", result.output)) == 4
    assert "-i -t 0 './run.sh onebit -- --dataset" in result.output
    assert (out / "accuracy_over_time.png").read_bytes().startswith(b"\x89PNG")
    for number in range(1, 5):
        logs = sorted(file.name for file in (out / f"host-{number}" / "onebit").glob("*.log"))
        assert logs == ["scheduler.log"] * (number == 1) + ["server-0.log", "server-1.log", "worker-0.log"]
    assert "effective learning rate 0.04 (0.01 x 4 hosts)" in (out / "host-1/onebit/worker-0.log").read_text()
    assert outside() == before


@pytest.mark.slow
@pytest.mark.cluster
def test_an_experiment_is_reproduced_on_hosts_of_this_machine(machine, commands, tmp_path):
    """As an ordinary user, then as root. A host keeps nothing of an interrupted job, which begins anew."""
    words = ["--hosts", 2, "--rate", "200mbit", "--out", "out", "--", *SMALL, "--num-epochs", 1]
    place = tmp_path / "out" / "seed-0" / "onebit"
    place.mkdir(parents=True)
    (place / "left-over").touch()
    result = commands.run(*ORDINARY_USER, REPRODUCE, "cifar100", "onebit", *words, BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 0, result.output
    assert not (place / "left-over").exists()
    assert record.read(place / "host-1" / "onebit" / "onebit.jsonl").finished
    assert "| dist-EF-SGDM | " in (tmp_path / "out" / "table.md").read_text()
    result = commands.run(REPRODUCE, "cifar100", "onebit", *words, BYTEPS_GC_PYTHON=sys.executable)
    assert result.output.startswith("1 of 1: onebit, seed 0: already finished\n")


@pytest.mark.slow
@pytest.mark.cluster
def test_run_simulates_hosts_without_ssh(machine, commands, tmp_path):
    """As root; each host's logs and the table are in the run folder."""
    words = ["onebit", "--hosts", 2, "--rate", "200mbit", "--", *SMALL, "--num-epochs", 1]
    result = commands.run(EXAMPLE / "run.sh", *words, BYTEPS_GC_RUN_DIR="out", BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 0, result.output
    assert "| dist-EF-SGDM | " in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "host-2" / "onebit" / "worker-0.log").is_file()


@pytest.mark.cluster
@pytest.mark.parametrize("sig, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_cluster_leaves_nothing(machine, commands, sig, status):
    before = outside()
    child = commands.start(*RUN, "--hosts", 2, "--pssh", "onebit", "--", *SMALL, "--num-epochs", 500)
    line = child.stdout.readline()
    while "parallel-ssh" not in line:
        assert line, "it ended before the run began"
        line = child.stdout.readline()
    inside = spaces(commands.mark) - {os.readlink("/proc/self/ns/net")}
    assert len(inside) == 3
    child.send_signal(sig)
    output = marks.rest_of_output(child, 30)
    assert child.returncode == status, output
    assert "Traceback" not in output
    assert commands.gone() == []
    deadline = time.monotonic() + 10
    while inside & spaces():  # who is killed with SIGKILL cannot wait for them
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert outside() == before


def output_of(child):
    """What a command printed, both streams together, when it has ended."""
    return child.communicate(timeout=180)[0]


@pytest.mark.cluster
@pytest.mark.parametrize(
    "host, victim, sig",
    [
        (1, "scheduler", signal.SIGKILL),
        (1, "server-0", signal.SIGSTOP),
        (2, "worker-0", signal.SIGKILL),
    ],
)
def test_a_process_that_dies_ends_the_run_on_all_hosts(machine, commands, host, victim, sig):
    """Both hosts say who it was, whether it was killed or has stopped."""
    words = ["--hosts", 2, "--pssh", "onebit", "--", *SMALL, "--num-epochs", 500]
    child = commands.start(*RUN, *words, BYTEPS_GC_DEATH_TIMEOUT="3")
    while "parallel-ssh" not in child.stdout.readline():
        assert child.poll() is None
    inside = spaces(commands.mark) - {os.readlink("/proc/self/ns/net")}
    first = marks.role("scheduler", lambda: (one for one in marks.processes() if one.space in inside))
    home = Path(f"/proc/{first.pid}/root{namespaces.home()}")
    while not list(home.glob("*/onebit/params/epoch-*.json")):
        assert child.poll() is None, output_of(child)
        time.sleep(0.05)
    workers = {one.space for one in marks.processes() if one.role == "worker-0"}
    (other,) = workers & inside - {first.space}
    os.kill(role_in(first.space if host == 1 else other, victim).pid, sig)
    output = marks.rest_of_output(child, 30)
    assert child.returncode == 1
    how = " was killed by SIGKILL" if sig == signal.SIGKILL else f" on 10.99.0.{host} has been silent for 3 s"
    said = [line for line in output.splitlines() if "byteps_gc: job onebit: " in line]
    assert len(said) == 2 and all(victim + how in line for line in said), output
    assert output.splitlines()[-1].startswith("byteps_gc: the run failed; logs: /")


def start_roles(hosts, workers, **names):
    """The processes of a scheduler and a server, on the first two hosts, and of a worker on each of some."""
    cluster, base = Cluster(len(workers), 1, scheduler=hosts[0].address, port=1234), dict(os.environ, **names)

    def start(kind, host, number=None):
        env = environment(cluster, kind, number, address=host.address, neighbours=1, base=base)
        command = [*supervisor.BPSLAUNCH, sys.executable, "-u", "-c", FOR_EVER]
        return host.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)

    roles = [start("scheduler", hosts[0]), start("server", hosts[1])]
    return roles + [start("worker", host, number) for number, host in enumerate(workers)]


@pytest.mark.cluster
def test_a_host_that_is_cut_off_ends_the_job_on_all(machine, commands):
    """Nobody gets a word from it, nor it from the others: each ends by itself."""
    with NamespaceHosts(3) as hosts, secret.fresh() as variable:
        roles = start_roles(hosts, hosts, BYTEPS_GC_DEATH_TIMEOUT="3", **variable)
        for worker in roles[2:]:
            line = ""
            while "running" not in line:
                line = worker.stdout.readline()
                assert line, "it has ended"
        connections = hosts[2].command(["ss", "-tnoH", "state", "established", "dst", hosts[1].address])
        deadline = time.monotonic() + 10
        # another timer runs while data is on its way
        while "timer:(keepalive," not in subprocess.check_output(connections, text=True):
            assert time.monotonic() < deadline, "a firewall may forget a connection that nothing is said on"
        hosts[2].network("ip", "link", "set", "eth0", "down")
        said = [marks.rest_of_output(role, 30) for role in roles]
        assert [role.returncode for role in roles] == [PEER_LOST] * 5
        line = "byteps: worker-2 on 10.99.0.3 has been silent for 3 s: it has stopped, or its host is unreachable"
        assert all(line in output for output in said[:4])
        assert "byteps: scheduler on 10.99.0.1 has been silent for 3 s" in said[4]


@pytest.mark.cluster
def test_a_worker_that_cannot_connect_to_a_server_says_so(machine, commands):
    """Its host reaches the scheduler's; it would wait for a server's first answer for ever."""
    with NamespaceHosts(3) as hosts, secret.fresh() as variable:
        hosts[2].network("ip", "route", "add", "unreachable", hosts[1].address)
        roles = start_roles(hosts, (hosts[0], hosts[2]), **variable)
        said = [role.communicate(timeout=60)[0] for role in roles]
        assert [role.returncode for role in roles] == [PEER_LOST] * 3 + [UNREACHED], said
        line = "byteps: worker-1 on 10.99.0.3 reaches the scheduler, but not the server at 10.99.0.2:"
        assert all(line in output for output in said), said


@pytest.mark.cluster
def test_a_worker_that_is_cut_off_from_a_server_says_so(machine, commands):
    """Both still reach the scheduler, so nobody is silent, and nobody has died."""
    with NamespaceHosts(3) as hosts, secret.fresh() as variable:
        roles = start_roles(hosts, (hosts[0], hosts[2]), BYTEPS_GC_DEATH_TIMEOUT="3", **variable)
        for worker in roles[2:]:
            assert any("running" in line for line in iter(worker.stdout.readline, "")), "it has ended"
        hosts[2].network("ip", "route", "add", "blackhole", hosts[1].address)
        said = [marks.rest_of_output(role, 30) for role in roles]
        assert [role.returncode for role in roles] == [PEER_LOST] * 3 + [UNREACHED], said
        line = "byteps: worker-1 on 10.99.0.3 lost its connection to the server at 10.99.0.2:"
        assert all(line in output and "could not connect again within 3 s" in output for output in said), said


@pytest.mark.cluster
def test_a_failed_run_resumes_on_all_hosts(machine):
    """The first host's checkpoint and record decide, whatever the folder of the other is called."""
    flags, pipes = [*SMALL, "--num-epochs", "6"], dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with NamespaceHosts(2) as hosts:
        ssh.serve(hosts)
        files = simulated_cluster.write_scripts(hosts, EXAMPLE, "cifar100", out="")
        hosts.console.run(ssh.pssh(hosts, "parallel-scp", *files, "."))

        def start(*words):
            line = ssh.pssh(hosts, "parallel-ssh", "-i", "-t", "0", shlex.join(["./run.sh", *words, "--", *flags]))
            return hosts.console.start(line, **pipes)

        child, runs = start("baseline"), [host.path(f"{namespaces.home()}/runs") for host in hosts]
        while not list(runs[0].glob("*/baseline/params/epoch-1.json")):
            assert child.poll() is None, output_of(child)
            time.sleep(0.01)
        os.kill(role_in(os.readlink(f"/proc/{hosts[1].pid}/ns/net"), "worker-0").pid, signal.SIGKILL)
        assert "[FAILURE] 10.99.0.2 Exited with error code 137" in output_of(child)

        asked = [["./run.sh", "baseline", "--resume", "--", *flags], ["./run.sh", "baseline", "--", *flags]]
        both = [host.start(words, namespaces.home(), **pipes) for host, words in zip(hosts, asked)]
        for line in map(output_of, both):
            assert "10.99.0.2 was asked to run 'baseline --dataset fashion-mnist " in line
            assert ", but this host was asked to run 'baseline --resume --dataset fashion-mnist " in line
        for folder in runs:
            (one,) = folder.glob("*")
            one.rename(folder / f"cifar100-20260101-00000{runs.index(folder)}")

        for host in hosts:  # the run resumes without a secret, with a warning
            host.path(f"{namespaces.home()}/secret").unlink()
        child = start("baseline", "--resume")
        output = output_of(child)
        assert child.returncode == 0, output
        assert output.count(f"warning: {secret.OPEN}") == 1
        assert len(re.findall(r"\[SUCCESS\] 10\.99\.0\.[12]", output)) == 2
        assert output.count("baseline: continues from /") == 1 and "baseline: epoch 1/6" not in output
        epochs = record.read(runs[0] / "cifar100-20260101-000000" / "baseline" / "baseline.jsonl").epochs
        assert [one["epoch"] for one in epochs] == list(range(6))
        assert len([folder for one in runs for folder in one.glob("*")]) == 2
        assert list(runs[1].glob("*/baseline/params")) == []

        child = start("baseline", "--resume")  # there is nothing left, which the second host does not know by itself
        output = output_of(child)
        assert child.returncode != 0
        assert "byteps_gc: nothing to resume: no run" in output
        assert "byteps_gc: host 10.99.0.1 has failed: nothing to resume: no run" in output


@pytest.mark.parametrize(
    "options, words",
    [
        ({"count": 0}, "cannot simulate 0 hosts; accepted: 1 to 16"),
        ({"count": 17}, "cannot simulate 17 hosts; accepted: 1 to 16"),
        ({"rate": "fast"}, "rate 'fast' is not a bandwidth such as 500kbit, 100mbit or 1gbit"),
        ({"rate": "0mbit"}, "rate '0mbit' is not a bandwidth"),
        ({"words": ["onebits"]}, "unknown job 'onebits'; known: baseline, onebit"),
        ({"extra": ["--typo"]}, "job onebit: .*unrecognized arguments: --typo"),
    ],
)
def test_a_mistake_is_reported_before_a_namespace_is_created(machine, monkeypatch, options, words):
    monkeypatch.setattr(namespaces, "Namespace", lambda *arguments: pytest.fail("a namespace was made"))
    experiment = Experiment.read(EXAMPLE / "cifar100.ini")
    given = dict(experiment=experiment, count=2, rate="", words=["onebit"], extra=SMALL)
    with pytest.raises(UserError, match=words):
        simulated_cluster.run(**{**given, **options})


@pytest.mark.parametrize(
    "words, message",
    [
        (["--hosts", "2", "--rate", "5"], "rate '5' is not a bandwidth such as 500kbit, 100mbit or 1gbit"),
        (
            ["--experiment", "cifar10"],
            f"unknown experiment 'cifar10' in {EXAMPLE}; known: cifar100, resnet50_v2, vgg16",
        ),
        (["--rate", "100mbit"], "--rate needs --hosts: it limits the links of simulated hosts"),
        (["--pssh"], "--pssh needs --hosts: it starts the jobs on simulated hosts"),
        (["--hosts", "17"], "cannot simulate 17 hosts; accepted: 1 to 16"),
        (["--hosts", "2", "--resume"], "--hosts cannot be combined with --print or --resume: simulated hosts are new"),
        (["--hosts", "two"], "python -m byteps_gc run: argument --hosts: invalid int value: 'two'"),
    ],
)
def test_a_mistake_is_one_line(commands, tmp_path, words, message):
    result = commands.run(*RUN, *words)
    (line,) = result.output.splitlines()
    assert result.status == 2 and line.startswith(message if "two" in words else f"byteps_gc: {message}"), line
    assert list(tmp_path.iterdir()) == []


def test_without_root_it_is_one_line(machine, commands):
    result = commands.run("unshare", "--user", SCRIPT)
    message = "cluster_on_one_machine: only root can run sshd on simulated hosts: use sudo\n"
    assert (result.status, result.output) == (2, message)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="only root can create the network namespaces"):
        namespaces.require([])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(namespaces, "PATH", "/nowhere")
    with pytest.raises(SettingsError, match="install them with: apt-get install iproute2 pssh$"):
        namespaces.require(["iproute2", "pssh"])


def test_the_hosts_settings_are_the_example_with_other_values():
    text = (EXAMPLE / "settings.sh").read_text()
    values = {"BYTEPS_GC_HOSTS": "10.99.0.1 10.99.0.2", "BYTEPS_GC_PYTHON": "/opt/python"}
    mine = simulated_cluster.settings(text, values, {"OMP_NUM_THREADS": "1"})
    assert ': "${BYTEPS_GC_HOSTS:=10.99.0.1 10.99.0.2}"\n' in mine
    assert ': "${BYTEPS_GC_PYTHON:=/opt/python}"\n' in mine
    assert mine.endswith("export OMP_NUM_THREADS=1\n")
    assert len(mine.splitlines()) == len(text.splitlines()) + 1
    with pytest.raises(SettingsError, match="settings.sh has no line for BYTEPS_GC_NOTHING"):
        simulated_cluster.settings(text, {"BYTEPS_GC_NOTHING": "1"}, {})
