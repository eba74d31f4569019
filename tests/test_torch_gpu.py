"""What the PyTorch front end does for GPUs, with host memory instead of theirs, and threads instead of streams.

Run in the environment of ``./scripts/setup.sh --torch``.
"""

import random
import re

import pytest
from test_torch import LACKS, digests, torch  # skips this module without PyTorch

from conftest import PROGRAMS, ROOT, commands_in

pytestmark = [pytest.mark.torch]

EXACT = "plain views uneven accumulate low_precision float64 transposed scaled identity identity64".split()
COMPRESSED = "onebit onebit_poisoned onebit_scaled".split()


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """What two hosts of two processes print that reduce gradients first."""
    if torch.__version__ < (2, 3):
        pytest.skip(LACKS)
    with commands_in(tmp_path_factory.mktemp("local")) as runner:
        program = PROGRAMS / "torch_local.py"
        result = runner.launch(program, *EXACT, *COMPRESSED, workers=4, timeout=400, BYTEPS_MIN_COMPRESS_BYTES="400")
    assert result.status == 0, result.output
    return result.output


@pytest.mark.cluster
@pytest.mark.xdist_group("torch_local")
def test_hosts_that_reduce_first_get_the_means_of_ddp(reduced):
    """Also with shards that are padded, and whose exchanges and copies end in another order on each process."""
    found = digests(reduced, workers=4)
    assert sorted(found) == sorted(EXACT + COMPRESSED)
    for case in EXACT:
        assert len(found[case]) > 1 and len(set.union(*found[case].values())) == 1, (case, found[case])
    for case in COMPRESSED:
        assert len(found[case]) == 2 and len(set.union(*found[case].values())) == 1, (case, found[case])
    assert found["onebit_poisoned"] == found["onebit"] and found["onebit"]["hook"] != found["plain"]["hook"]


@pytest.mark.cluster
@pytest.mark.xdist_group("torch_local")
def test_each_host_sends_each_gradient_once(reduced):
    assert re.findall(r"SENT ([0-9.]+)", reduced) == ["0.50"] * 4
    assert reduced.count("HANDLES equal") == 4


@pytest.mark.cluster
@pytest.mark.xdist_group("torch_local")
def test_processes_that_cannot_reduce_first_are_one_line(reduced):
    from byteps_gc.torch import local

    lines = re.findall(r"worker-\d \| MISTAKE (.*)", reduced)
    assert len(lines) == 8 and lines.count(local.NEEDS) == 4
    assert all("different settings" in line and "local_reduce" in line for line in set(lines) - {local.NEEDS}), lines


def test_gloo_without_reduce_scatter_is_one_line(monkeypatch):
    from byteps_gc.torch import local

    monkeypatch.setattr(local, "GLOO_REDUCES", False)
    with pytest.raises(local.ExchangeError, match="^local_reduce=True in host memory needs PyTorch 2.2 or newer: gloo"):
        local.LocalGroup(2, torch.device("cpu"))


@pytest.mark.cluster
def test_the_check_of_a_gpu_without_one(commands):
    result = commands.python(ROOT / "scripts" / "check_gpu.py", "--torch", "--device", "cpu", "--large", "60000")
    assert result.status == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith("  ")]
    equal = 15 if torch.__version__ >= (2, 2) else 14  # one is of local_reduce
    assert sum(line.endswith(": equal") for line in lines) == len(lines) - 2 == equal, result.output
    assert re.search(r"overlap: [0-9]+% of the exchanges", lines[-2]) and "ms" in lines[-1]


def test_collectives_take_the_same_order_on_all_ranks():
    from byteps_gc.torch.local import Turns

    sizes = [2, 1, 3, 1]
    places = [sum(sizes[:number]) for number in range(len(sizes))]
    wanted = [(kind, number) for kind in ("reduce", "gather") for number in range(len(sizes))]

    def step(turns, order, seen):
        """Ask for all in some order; a gather some time after its reduction."""

        def gather(number):
            turns.gather(places[number], sizes[number], lambda: seen.append(("gather", number)))

        reduced = []
        for number in order.sample(range(len(sizes)), len(sizes)):
            turns.reduce(places[number], sizes[number], lambda number=number: seen.append(("reduce", number)))
            reduced.append(number)
            if order.random() < 0.5:
                gather(reduced.pop(order.randrange(len(reduced))))
        for number in reduced:
            gather(number)

    for seed in range(20):
        turns, order, seen = Turns(sum(sizes)), random.Random(seed), []
        step(turns, order, seen)
        step(turns, order, seen)
        assert seen == wanted * 2


def test_a_lane_waits_in_order_and_passes_errors_on():
    from byteps_gc.torch import lanes

    lane, seen = lanes.Lane(lanes.HostStream()), []
    ended = lanes.Outcome()

    def fail():
        raise ValueError("copy")

    lane.send(lambda: seen.append("first"), lambda error: seen.append(error))
    lane.send(fail, lambda error: seen.append(str(error)))
    lane.send(lambda: None, ended.done)
    ended.synchronize()
    assert seen == ["first", None, "copy"] and ended.is_over()
    lane.stream.join()
