"""The benchmark against other systems, run small; what its rows are made of."""

import argparse
import contextlib
import json
import shutil

from byteps_gc import cli as command_line
from byteps_gc.bench import model_gradients
from byteps_gc.bench.peers import benchmark, rows
from byteps_gc.bench.peers.jobs import PEERS
from byteps_gc.bench.peers.rows import UNSHAPED, Failure, Row, Setting, Turn
from byteps_gc.errors import ClusterError
import byteps_gc.report.machine
import pytest

SMALL = ["--model", "resnet18_v2", "--hosts", "2", "--rate", "1gbit", "--repeats", "1", "--json", "out.json"]
HERE = ["byteps_gc onebit", "MXNet dist_sync 2bit"]  # what needs no environment of its own


def named(*names):
    return [word for name in names for word in ("--peer", name)]


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.skipif(not (shutil.which("ip") or shutil.which("/usr/sbin/ip")), reason="iproute2 is missing")
def test_ours_and_mxnets(commands, tmp_path):
    """Bytes are those of the links, the limit follows from them, and what has been measured is not measured again."""
    result = commands.python("-m", "byteps_gc", "bench", "peers", *SMALL, *named(*HERE), "--markdown", "out.md")
    assert result.status == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    ours, theirs = found_rows = [Row(**one) for one in found["rows"]]
    assert [one.peer for one in found_rows] == HERE and found["failed"] == []
    for one in found_rows:
        assert one.rounds == rows.MOST_ROUNDS
        assert 0 < one.seconds_min <= one.seconds <= one.seconds_max
        assert one.limit_seconds < one.seconds_max
        assert one.limit_seconds >= 8 * max(one.mb_sent, one.mb_received) / 1000 > 0
        assert 0 < one.cpu_seconds < 10
    assert 1.3 < ours.mb_sent < 2.5, "a bit an element, and the small gradients in full"
    assert 20 < theirs.mb_sent < 30, "MXNet pushes two bits an element, and pulls in full"
    assert [len(turn["seconds"]) for turn in found["turns"]] == [rows.MOST_ROUNDS] * 2
    assert [one.goal_seconds for one in found_rows] == [None, None]
    heading, _, processor, _, setting, _, origin, _, *table = (tmp_path / "out.md").read_text().splitlines()
    assert heading.startswith("`python -m byteps_gc bench peers`; Python 3.") and "mxnet 1.9.1" in heading
    assert processor.startswith("CPU s: CPU time of all processes") and setting == "## resnet18_v2, 2 hosts, 1gbit"
    assert origin.startswith(
        f"{ours.date}, commit {ours.commit}, {ours.machine}; 1 turns each; other processes used at most "
    )
    assert len(table) == 4 and table[2].startswith(f"| {HERE[0]} | {ours.seconds:.3f} |")
    assert heading.endswith(", TCP cubic.")
    before = (tmp_path / "out.json").stat().st_mtime_ns
    result = commands.python("-m", "byteps_gc", "bench", "peers", *SMALL, *named(*HERE))
    assert result.status == 0 and (tmp_path / "out.json").stat().st_mtime_ns == before, result.output


@pytest.fixture
def no_hosts(monkeypatch):
    """Nothing is made for a contest to run on; the machine is called "here"."""
    monkeypatch.setattr(byteps_gc.report.machine, "host", lambda about: "here")
    monkeypatch.setattr(benchmark, "NamespaceHosts", lambda *arguments, **more: contextlib.nullcontext())
    monkeypatch.setattr(benchmark, "require", lambda packages: None)


def turn(*seconds, peer=HERE[0], model="vgg16", hosts=2, rate="100mbit", sent=1.0e6, cpu=0.1, place="here"):
    links = [sent, 3 * sent], [sent / 2, sent / 2]
    return Turn(peer, model, hosts, rate, [*seconds], *links, cpu, 0.25, "2026-11-26", "abc", place)


def test_a_row_pools_the_rounds_of_all_turns():
    row = rows.row([turn(1.0, 2.0), turn(3.0, 4.0, 5.0, cpu=0.3)])
    assert (row.peer, row.model, row.hosts, row.rate) == (HERE[0], "vgg16", 2, "100mbit")
    assert (row.date, row.commit, row.machine) == ("2026-11-26", "abc", "here")
    assert (row.seconds, row.seconds_min, row.seconds_max, row.rounds) == (3.0, 1.0, 5.0, 5)
    assert (row.mb_sent, row.mb_received, row.cpu_seconds, row.load) == (2.0, 0.5, 0.2, 0.25)
    assert row.limit_seconds == pytest.approx(8 * 3e6 / 100e6), "the busiest link's"
    assert rows.row([turn(1.0, rate=UNSHAPED)]).limit_seconds is None


def test_goals_are_those_of_the_rate():
    """They have a column of their own, and a line above the tables."""
    cases = [
        ("byteps_gc", "1gbit", 1e6, 1.1 * 0.024),
        ("byteps_gc fp16", "100mbit", 1e6, 1.1 * 0.24),
        ("byteps_gc topk 0.1 %", "100mbit", 1e6, 2 * 0.24),
        ("byteps_gc randomk 0.1 %", "100mbit", 1e4, 0.02),
        ("byteps_gc randomk 0.1 %", "1gbit", 1e6, None),
        ("byteps_gc", UNSHAPED, 1e6, None),
        (HERE[1], "100mbit", 1e6, None),
    ]
    found = [rows.row([turn(0.5, peer=peer, rate=rate, sent=sent)]) for peer, rate, sent, _ in cases]
    assert [row.goal_seconds for row in found] == [goal and pytest.approx(goal) for _, _, _, goal in cases]
    column = benchmark.TITLES.index("goal s")
    assert benchmark.cells(found[2])[column : column + 2] == ("0.480", "1.04")
    contest = argparse.Namespace(peers=[PEERS[0]], about={"python": "3", "versions": {}}, turns=[], failed=[])
    assert "\nGoal: 1.1 x limit " in benchmark.markdown(contest, found)
    assert "Goal: " not in benchmark.markdown(contest, found[-2:])


def test_rounds_fit_the_rate():
    """And what a contestant sends: what it compresses, and what is too small for that."""
    model = model_gradients.MODELS["vgg16"]
    names = ("byteps_gc", HERE[0], f"{HERE[0]}, guide's threshold", "PyTorch DDP")
    peers_here = [peer for peer in PEERS if peer.name in names]
    found = [
        (plan.warm_up, plan.rounds)
        for rate in ("100mbit", "1gbit", UNSHAPED)
        for plan in (Setting(model, 2, rate).plan(peer) for peer in peers_here)
    ]
    at_100mbit, at_1gbit = [(1, 1), (1, 9), (1, 8), (3, 1)], [(1, 4), (3, 15), (3, 15), (3, 4)]
    assert found == at_100mbit + at_1gbit + [(3, 15)] * 4
    assert Setting(model, 2, "100mbit").limit(peers_here[0]) == pytest.approx(rows.START + 8 * 44.27 * 2, 0.001)


def test_a_failed_contestant_is_recorded_and_not_retried(monkeypatch, no_hosts, tmp_path):
    """The others continue; a second run does not retry the failed one either."""
    taken = []

    def take(peer, setting, *arguments):
        taken.append(peer.name)
        if peer.name == HERE[1]:
            raise ClusterError("worker-0 failed with status 1; log: x\nmore")
        return turn(1.0, peer=peer.name, model=setting.model.name, rate="1gbit")

    monkeypatch.setattr(benchmark, "take", take)
    file = tmp_path / "out.json"
    words = [*SMALL[:-1], str(file), "--markdown", str(tmp_path / "out.md"), "--repeats", "2", *named(*HERE)]
    for _ in range(2):
        assert command_line.main(["bench", "peers", *words]) == 0
    assert taken == [*HERE, HERE[0]]
    found = json.loads(file.read_text())
    assert [one["peer"] for one in found["rows"]] == HERE[:1]
    (failure,) = [Failure(**one) for one in found["failed"]]
    assert str(failure) == f"{HERE[1]}: resnet18_v2, 2 hosts, 1gbit: worker-0 failed with status 1; log: x"
    assert (tmp_path / "out.md").read_text().endswith(f"\n\n- failed: {failure}\n")
    taken.clear()
    assert command_line.main(["bench", "peers", *words, "--model", "resnet50_v2"]) == 0
    assert taken == [HERE[0]] * 2
    (_, failure) = [Failure(**one) for one in json.loads(file.read_text())["failed"]]
    assert str(failure) == f"{HERE[1]}: resnet50_v2, 2 hosts, 1gbit: not tried, because it failed with resnet18_v2"


def test_an_interrupted_benchmark_continues_with_the_same_turn(monkeypatch, no_hosts, tmp_path):
    taken = []

    def take(peer, *arguments):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(peer.name)
        return turn(1.0, peer=peer.name, model="resnet18_v2", rate="1gbit")

    monkeypatch.setattr(benchmark, "take", take)
    words = ["bench", "peers", *SMALL[:-1], str(tmp_path / "out.json"), "--repeats", "2", *named(*HERE)]
    command_line.main(words)
    assert taken == [*HERE, HERE[0]]
    taken.clear()
    assert command_line.main(words) == 0
    assert taken == [HERE[1]]


def test_contestants_meet_on_one_machine(monkeypatch, no_hosts, tmp_path):
    """What another machine has not finished in a setting is begun again; what it has finished there stays."""
    taken, here = [], "there"

    def take(peer, setting, *arguments):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append((setting.hosts, peer.name))
        return turn(1.0, peer=peer.name, model="resnet18_v2", hosts=setting.hosts, rate="1gbit", place=here)

    monkeypatch.setattr(benchmark, "take", take)
    monkeypatch.setattr(byteps_gc.report.machine, "host", lambda about: here)
    words = ["bench", "peers", *SMALL[:-1], str(tmp_path / "out.json"), "--repeats", "2", "--hosts", "4", *named(*HERE)]
    command_line.main(words)
    assert taken == [*[(2, peer) for peer in [*HERE, *HERE]], (4, HERE[0])]
    here, taken = "here", []
    assert command_line.main(words) == 0
    assert taken == [(4, peer) for peer in [*HERE, *HERE]]
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert [(row["hosts"], row["machine"]) for row in rows] == [(2, "there"), (2, "there"), (4, "here"), (4, "here")]


def test_rows_are_sorted():
    """By model, rate and hosts, whatever came first."""
    contest = benchmark.Contest(argparse.Namespace(json=None), [], None, {})
    contest.turns = [
        turn(1.0),
        turn(1.0, model="resnet18_v2", rate=UNSHAPED),
        turn(1.0, model="resnet18_v2", rate="1gbit", peer=HERE[1]),
        turn(1.0, model="resnet18_v2", rate="1gbit"),
    ]
    assert [(row.model, row.rate, row.peer) for row in contest.rows()] == [
        ("resnet18_v2", "1gbit", HERE[0]),
        ("resnet18_v2", "1gbit", HERE[1]),
        ("resnet18_v2", UNSHAPED, HERE[0]),
        ("vgg16", "100mbit", HERE[0]),
    ]


def test_another_file_is_not_overwritten(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "require", lambda packages: None)
    file = tmp_path / "other.json"
    for text in ("", "[]", '{"rows": []}', '{"turns": [{"peer": "x"}], "failed": []}'):
        file.write_text(text)
        assert command_line.main(["bench", "peers", *SMALL[:-1], str(file), "--peer", HERE[0]]) == 2
        assert capsys.readouterr().err.endswith(
            f"cannot continue --json {file}: bench peers did not write this file; choose another\n"
        )
        assert file.read_text() == text


def test_a_file_has_one_congestion_control(capsys, monkeypatch, no_hosts, tmp_path):
    """Exchanges with cubic and with bbr do not meet in one table."""
    monkeypatch.setattr(benchmark, "take", lambda peer, *arguments: turn(1.0, peer=peer.name, rate="1gbit"))
    words = ["bench", "peers", *SMALL[:-1], str(tmp_path / "out.json"), *named(HERE[0])]
    assert command_line.main(words) == 0
    assert command_line.main([*words, "--congestion", "bbr"]) == 2
    error = capsys.readouterr().err
    assert error.endswith("it was measured with TCP cubic, and here is bbr; choose another file\n")


def test_the_models_are_those_of_the_guide():
    assert {name: len(model_gradients.of(model)) for name, model in model_gradients.MODELS.items()} == {
        "resnet18_v2": 58,
        "resnet50_v2": 155,
        "vgg16": 32,
    }


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--peer", "nobody"], "unknown peer nobody; known: byteps_gc, byteps_gc fp16, "),
        (["--model", "net"], "unknown model net; known: resnet18_v2, resnet50_v2, vgg16"),
        (["--rate", "fast"], "rate 'fast' is not a bandwidth such as 500kbit, 100mbit or 1gbit"),
        (["--hosts", "1"], "--hosts must be between 2 and 16"),
        (["--hosts", "17"], "--hosts must be between 2 and 16"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--json", "/nowhere/out.json"], "cannot write --json /nowhere/out.json: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, monkeypatch, words, reason):
    monkeypatch.setattr(benchmark, "require", lambda packages: pytest.fail("something was started"))
    assert command_line.main(["bench", "peers", *words]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
