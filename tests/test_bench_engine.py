"""The benchmark of the engine, run small, and the accounts of CPU time that it keeps."""

import json
from pathlib import Path
import signal
import subprocess
import sys
import time

from byteps_gc import cli as command_line
from byteps_gc.bench import cpu_time
from byteps_gc.bench.engine import benchmark, summary
from byteps_gc.bench.engine.clusters import EXPERIMENTS, KEYS
from byteps_gc.bench.peers import worker_timing
from byteps_gc.bench.stock import engine
from byteps_gc.engine import fixups
from byteps_gc.errors import ClusterError
import pytest

SMALL = ["--rounds", 1, "--steps", 10, "--exchange-rounds", 2, "--idle-seconds", 1]

BURN = """
import sys, threading, time
def burn():
    while time.process_time() < float(sys.argv[1]):
        pass
thread = threading.Thread(target=burn)
thread.start()
thread.join()
print(time.process_time(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def burnt():
    """A child that has burnt half a second of CPU time in a thread that is gone, and what it says that it burnt."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", BURN, "0.5"], stdin=pipe, stdout=pipe, text=True) as child:
        yield child, float(child.stdout.readline())


def test_cpu_time_counts_all_threads(burnt):
    child, said = burnt
    assert 0.5 <= said <= cpu_time.seconds(child.pid)
    fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
    assert sum(map(int, fields[11:13])) / 100 == pytest.approx(cpu_time.seconds(child.pid), abs=0.03)
    child.communicate()
    with pytest.raises(OSError):
        cpu_time.seconds(child.pid)


def test_a_window_is_what_passed_while_all_were_at_it(burnt):
    child, said = burnt
    pids = {}
    watch = cpu_time.Watch(2, lambda: {"server-0": child.pid, **pids})
    for line in ("something else", worker_timing.BEGIN):
        watch.take_line(line)
    with pytest.raises(ClusterError, match="did not report when"):
        watch.window()
    begin, burnt_before = time.monotonic(), cpu_time.seconds(child.pid)
    watch.take_line(worker_timing.BEGIN)
    busy = subprocess.Popen([sys.executable, "-c", BURN, "0.2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    busy.stdout.readline()
    pids["late"] = busy.pid
    watch.take_line(worker_timing.END)
    watch.take_line(worker_timing.END)
    window = watch.window()
    busy.communicate()
    assert 0 < window.seconds <= time.monotonic() - begin
    assert set(window.cpu) == {"server-0"}
    assert 0 <= window.total <= cpu_time.seconds(child.pid) - burnt_before
    assert window.others > 0.1  # the late one's, at least


def test_ratios_are_those_of_one_round():
    ours = [{"step_wall_seconds": 3.0, "server_seconds_2": 1.0, "server_seconds_8": 2.5}, {"step_wall_seconds": 8.0}]
    alone = [{"step_wall_seconds": 2.0, "step_wall_seconds_one_batch": 1.0}, {"step_wall_seconds": 4.0}]
    result = summary.summary({"alone": alone, "ours": ours, "stock": [{}, {}]})
    assert result["step_wall_ratio"] == 1.75
    assert result["raw"]["ours"]["step_wall_ratio"]["values"] == [1.5, 2.0]
    assert result["raw"]["ours"]["step_wall_ratio_one_batch"]["values"] == [3.0, None]
    assert result["server_ratio_8_to_2"] == 2.5
    assert result["stock"] == dict.fromkeys(KEYS) and result["init_seconds"] is None


def check_values(raw):
    """Every value has what it comes from."""
    for values in raw.values():
        for name, one in values.items():
            may_be_zero = "others" in name or name.startswith("idle_core_percent_")  # a role may sleep all the time
            assert len(one["values"]) == 1 and one["values"][0] >= 0, name
            assert one["values"][0] > 0 or may_be_zero, name
            assert one["min"] <= one["median"] <= one["max"]


@pytest.mark.slow
@pytest.mark.cluster
def test_everything_is_measured(commands, tmp_path):
    result = commands.python("-m", "byteps_gc", "bench", "engine", "--no-stock", "--json", "out.json", *SMALL)
    assert result.status == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert all(isinstance(found[key], float) and found[key] > 0 for key in KEYS)
    assert found["stock"] == dict.fromkeys(KEYS)
    check_values(found["raw"])
    ours, alone = found["raw"]["ours"], found["raw"]["alone"]
    seconds = [one["step_wall_seconds"]["median"] for one in (ours, alone)]
    assert found["step_wall_ratio"] == seconds[0] / seconds[1]
    assert ours["exchange_seconds"]["median"] <= ours["exchange_seconds_slowest"]["median"]
    roles = [ours[f"idle_core_percent_{name}"]["median"] for name in ("scheduler", "server-0", "worker-0", "worker-1")]
    assert found["idle_core_percent"] == pytest.approx(sum(roles))
    assert found["hosts"] in ("namespaces", "loopback")
    assert found["options"]["experiments"] == list(EXPERIMENTS)
    assert found["engines"]["ours"].startswith("0.2.5.post15+gc.")
    for name in ("date", "commit", "machine", "python", "environment", "notes"):
        assert name in found
    assert f"{found['step_cpu_ratio']:.3g}" in result.output


@pytest.mark.slow
@pytest.mark.cluster
def test_one_measure_against_stock_byteps(commands, tmp_path):
    words = ["--only", "idle_core_percent", "--json", "out.json", *SMALL]
    result = commands.python("-m", "byteps_gc", "bench", "engine", *words)
    assert result.status == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["notes"] == []
    for side in (found, found["stock"]):
        assert [key for key in KEYS if side[key]] == ["idle_core_percent"]
    assert found["engines"]["stock"] != found["engines"]["ours"]
    check_values(found["raw"])


@pytest.mark.cluster
def test_an_interrupted_run_leaves_nothing(commands):
    words = ["--only", "idle", "--no-stock", "--idle-seconds", 200]
    child = commands.start(sys.executable, "-m", "byteps_gc", "bench", "engine", *words)
    while sum("engine.worker idle" in one.words and " role " not in one.words for one in commands.alive()) < 2:
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 143 and "Traceback" not in output
    assert commands.gone() == []


def test_without_namespaces_the_reason_is_noted(monkeypatch):
    monkeypatch.setattr(benchmark.os, "geteuid", lambda: 1000)
    assert "only root can create the network namespaces" in benchmark.hosts_refused()


def test_what_stock_byteps_needs_are_fixups():
    assert set(engine.NEEDED) < set(fixups.names())


@pytest.mark.parametrize(
    "words, reason",
    [
        (
            ["--only", "speed"],
            "unknown measurement speed; known: idle, step, exchange, server, idle_core_percent, step_",
        ),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--steps", "-1"], "--steps must be at least 1"),
        (["--exchange-rounds", "0"], "--exchange-rounds must be at least 1"),
        (["--servers-per-host", "0"], "--servers-per-host must be at least 1"),
        (["--idle-seconds", "nan"], "--idle-seconds must be between 0.1 and 300"),
        (["--json", "/nowhere/out.json"], "cannot write --json /nowhere/out.json: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, monkeypatch, words, reason):
    monkeypatch.setattr(benchmark, "prepare", lambda *arguments: pytest.fail("something was started"))
    assert command_line.main(["bench", "engine", *words]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
