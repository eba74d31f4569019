"""push_pull on real clusters: exact, alone on its buffers, and ended by the first failure."""

import re
import signal
import socket
import sys

from byteps_gc.bench.step_model import placement
import pytest

from conftest import PROGRAMS

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    "front_end, slot_bytes",
    [("numpy", "1024"), ("numpy", "1000000000"), ("mxnet", "1024")],
    ids=["memory", "sockets", "MXNet"],
)
def test_two_workers_get_the_exact_sum(commands, front_end, slot_bytes):
    """Sizes 1 to 1,024,001, 100 rounds, workers paused at random."""
    result = commands.launch(PROGRAMS / "exchange.py", front_end, 100, BYTEPS_GC_SLOT_BYTES=slot_bytes)
    assert result.status == 0, result.output
    for worker in range(2):
        assert f"worker {worker}: 100 rounds exact" in result.output


def test_two_clusters_on_one_machine_do_not_meet(commands):
    """Four workers of two jobs, with the same tensor names and worker ids, at the same time."""
    roles = [sys.executable, "-m", "byteps_gc", "launch", "--", sys.executable, PROGRAMS / "exchange.py", "numpy", 60]
    both = [commands.start(*roles), commands.start(*roles)]
    for one in both:
        output, _ = one.communicate(timeout=240)
        assert one.returncode == 0, output


def test_three_workers_and_one_server(commands):
    result = commands.launch(PROGRAMS / "exchange.py", "numpy", 20, workers=3, servers=1)
    assert result.status == 0, result.output


@pytest.mark.parametrize(
    "partition, hash_function, count",
    [
        ("4096000", "", 3 + 1 + 2 + 1 + 1 + 1),
        ("4096000", "naive", 3 + 1 + 2 + 1 + 1 + 1),
        ("", "", 16 + 1 + 16 + 1 + 4 + 8),  # sixteenths, in whole pages, or 512 KiB
    ],
)
def test_each_server_gets_as_many_bytes(commands, partition, hash_function, count):
    """Parts of tensors are spread over the servers alike by all workers, or by the hash that the user names."""
    env = {"BYTEPS_KEY_HASH_FN": hash_function, "BYTEPS_PARTITION_BYTES": partition}
    sizes = (3000000, 100, 2000000, 500, 500000, 1000000)
    program = (
        "import byteps_gc.numpy as bps, numpy as np; bps.init()\n"
        f"for size in {sizes}:\n"
        "    assert (bps.push_pull(np.ones(size, 'f4'), str(size), average=False) == 2).all()\n"
    )
    result = commands.launch("-c", program, servers=3, BYTEPS_LOG_LEVEL="DEBUG", **env)
    assert result.status == 0, result.output
    assigned = r"key (\d+) assigned to server (\d), accumulated workload for this server is (\d+)"
    found = re.findall(assigned, result.output)
    places = {int(key): int(server) for key, server, _ in found}
    assert len(found) == 2 * len(places) == 2 * count
    assert all(places[int(key)] == int(server) for key, server, _ in found)
    loads = [max(int(load) for _, server, load in found if int(server) == number) for number in range(3)]
    if hash_function:
        assert all(server == (key // 65536 + key % 65536) * 9973 % 3 for key, server in places.items())
    else:
        assert max(loads) - min(loads) <= int(partition or 753664)
    if partition and not hash_function:
        parts = placement([4 * size for size in sizes], 3, 4096000)
        assert [server for server, _ in parts] == [server for _, server in sorted(places.items())]


def test_the_first_exchange_sends_no_more_than_others(commands):
    """Servers get the size of a tensor first; its bytes are sent when they are exchanged, as are sums."""
    program = (
        "import byteps_gc.numpy as bps, numpy as np; bps.init()\n"
        "def counts(): return np.array([bps.sent_bytes(), bps.received_bytes()])\n"
        "before = counts()\n"
        "for number in (1, 2):\n"
        "    bps.push_pull(np.ones(3000000, 'f4'), 'a')\n"
        "    now = counts(); print('MB: {:.1f} {:.1f}'.format(*(now - before) / 1e6)); before = now\n"
    )
    result = commands.launch("-c", program, BYTEPS_GC_SLOT_BYTES="1000000000")
    assert result.status == 0, result.output
    assert result.output.count("MB: 12.0 12.0") == 4, result.output


def test_a_failing_worker_ends_all_at_once(commands):
    """sys.exit, an exception, a missing program: its status and last lines. The other worker would never end."""
    for code, status, words in (
        ("sys.exit(7)", 7, "failed with status 7"),
        ("print('the last line'); sys.exit('no more')", 1, "no more"),
        ("raise ValueError('wrong value')", 1, "ValueError: wrong value"),
    ):
        program = f"import byteps_gc.numpy as bps, signal, sys; bps.init()\nif bps.rank(): {code}\nsignal.pause()"
        result = commands.launch("-c", program)
        assert result.status == status, result.output
        assert "worker-1 failed with status" in result.output and words in result.output
    result = commands.python("-m", "byteps_gc", "launch", "--", "/no/such/program")
    assert result.status == 127
    assert "cannot run /no/such/program" in result.output


def test_a_killed_worker_ends_all(commands):
    program = (
        "import byteps_gc.numpy as bps, os, signal; bps.init()\nif bps.rank(): os.kill(os.getpid(), 9)\nsignal.pause()"
    )
    result = commands.launch("-c", program)
    assert result.status == 128 + signal.SIGKILL
    assert "worker-1 was killed by SIGKILL" in result.output


@pytest.mark.parametrize("sig, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_ending_the_launcher_ends_everything(commands, sig, status):
    program = "import byteps_gc.numpy as bps, signal; bps.init(); print('running', flush=True); signal.pause()"
    child = commands.start(sys.executable, "-m", "byteps_gc", "launch", "--", sys.executable, "-c", program)
    seen = ""
    while "worker-0 | running" not in seen or "worker-1 | running" not in seen:
        line = child.stdout.readline()
        assert line, seen
        seen += line
    child.send_signal(sig)
    child.communicate(timeout=30)
    assert child.returncode == status
    assert commands.gone() == []


def test_a_port_in_use_is_one_line(commands):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        result = commands.python("-m", "byteps_gc", "launch", "--port", port, "--", sys.executable, "-c", "pass")
    assert result.status == 1
    expected = f"byteps_gc: the scheduler cannot listen on 127.0.0.1:{port}: Address already in use"
    assert result.output.strip() == expected


def test_the_engine_itself_says_that_its_port_is_in_use(commands):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        names = {"DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1", "DMLC_PS_ROOT_URI": "127.0.0.1"}
        result = commands.python("-m", "byteps_gc", "role", DMLC_ROLE="scheduler", DMLC_PS_ROOT_PORT=str(port), **names)
    assert result.status == 98
    assert f"byteps: cannot listen on tcp://127.0.0.1:{port}: Address already in use" in result.output


def test_calls_that_the_engine_would_answer_with_an_abort(commands):
    program = """
import byteps_gc.mxnet as bps, mxnet as mx
from byteps_gc.core import exchange
from byteps_gc.errors import ExchangeError
for call in (bps.rank, bps.size, lambda: bps.push_pull(mx.nd.ones(1)), lambda: bps.DistributedTrainer({}, "sgd")):
    try:
        call()
    except ExchangeError as error:
        print("before init", error)
bps.init()
sparse = mx.nd.zeros((2, 2)).tostype("csr")
for name, tensor in (("text", "a"), ("sparse", sparse), ("bool", mx.nd.zeros(3, dtype="bool"))):
    try:
        bps.push_pull(tensor, name=name)
    except ExchangeError as error:
        print("refused", error)
a = mx.nd.ones(4)
bps.push_pull(a, name="a")
try:
    bps.push_pull(mx.nd.ones(5), name="a")
except ExchangeError as error:
    print("refused", error)
bps.broadcast({"b": a}, root_rank=1)
assert (a.asnumpy() == 1).all()
for dtype in ("float16", "float64", "uint8", "int8", "int32", "int64"):
    c = mx.nd.full(37, bps.rank() + 1, dtype=dtype)
    bps.push_pull(c, is_average=False)
    assert (c.asnumpy() == 3).all(), dtype
exchange.MOST_TENSORS = len(exchange.declarations()["tensors"])
for name, nbytes in (("many", 4), ("large", 1 << 48)):
    try:
        exchange.declare(name, nbytes)
    except ExchangeError as error:
        print("refused", error)
    exchange.MOST_TENSORS = 1 << 15
print("sent", bps.sent_bytes() > 0)
"""
    result = commands.launch("-c", program)
    assert result.status == 0, result.output
    assert result.output.count("before init BytePS is not running in this process; call bps.init() first") == 8
    assert result.output.count("refused") == 12
    assert (
        result.output.count("refused many: ")
        == result.output.count("refused large: 281474976710656 bytes are more")
        == 2
    )
    assert "a has shape (5,) and dtype float32, but was exchanged with shape (4,) and dtype float32" in result.output
    assert result.output.count("sent True") == 2


def test_weights_in_mxnets_blocked_layout(commands):
    """A forward pass outside autograd.record() leaves convolution weights in a layout that is no plain array.

    NAG updates such a weight otherwise. At the end a worker leaves while the other reads what both have sent.
    """
    program = """
import byteps_gc.mxnet as bps, mxnet as mx, numpy as np
bps.init()
net = mx.gluon.nn.Conv2D(64, 3, padding=1)
net.initialize(mx.init.Xavier())
net.hybridize()
x = mx.nd.random.uniform(shape=(8, 16, 32, 32))
net(x).wait_to_read()
before = net.weight.data().copy().asnumpy()
net(x).wait_to_read()
bps.push_pull(net.weight.data(), name="weight", is_average=False)
total = net.weight.data().asnumpy()
shares = mx.nd.array(before)
bps.push_pull(shares, name="plain", is_average=False)
print("equal", np.array_equal(total, shares.asnumpy()))
net = mx.gluon.nn.Conv2D(64, 3, padding=1, in_channels=16)
net.initialize(mx.init.Xavier())
net.hybridize()
onebit = {"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"}
for optimizer, params in (("nag", {}), ("nag", {"fp16": True}), ("sgd", {}), ("sgd", onebit)):
    options = {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1}
    trainer = bps.DistributedTrainer(net.collect_params(), optimizer, options, compression_params=params)
    trainer.broadcast_parameters()
    x = mx.nd.random.uniform(shape=(8, 16, 32, 32))
    for step in range(5):
        if bps.rank() == 1:
            net(x).wait_to_read()
            mx.nd.waitall()
        with mx.autograd.record():
            loss = net(x).mean()
        loss.backward()
        trainer.step(1)
    states = [value for value in trainer._updaters[0].states.values() if value is not None]
    for value in [net.weight.data(), *states]:
        total = value.copy()
        bps.push_pull(total, is_average=False)
        print("on one worker", optimizer, params, "equal", bool((total == 2 * value).asnumpy().all()))
arrays = [mx.nd.ones(1_000_000) for _ in range(30)]
for i, array in enumerate(arrays):
    bps.push_pull(array, name=f"array{i}", is_average=False)
if bps.rank() == 1:
    print("sum", sum(float(array.sum().asscalar()) for array in arrays))
bps.shutdown()
print("left")
"""
    result = commands.launch("-c", program, BYTEPS_MIN_COMPRESS_BYTES="16384")
    assert result.status == 0, result.output
    assert result.output.count("| equal True") == 2 and " equal False" not in result.output, result.output
    assert " on one worker nag {} equal True" in result.output
    assert (result.output.count("sum 60000000.0"), result.output.count("| left")) == (1, 2)


def test_a_worker_that_does_not_know_its_cluster_says_so(commands):
    code = "import byteps_gc.mxnet as bps; from byteps_gc.errors import UserError\n"
    code += "try:\n    bps.init()\nexcept UserError as error:\n    print(error)"
    result = commands.python("-c", code, DMLC_NUM_WORKER="2", DMLC_NUM_SERVER="1")
    assert "a worker needs DMLC_PS_ROOT_URI, DMLC_PS_ROOT_PORT in its environment" in result.output
    result = commands.python("-c", code, DMLC_NUM_WORKER="2", DMLC_WORKER_ID="2")
    assert "DMLC_WORKER_ID=2 is not an integer from 0 to 1" in result.output


def test_one_process_without_a_cluster(commands):
    """As with BytePS: one worker alone needs no server; it can leave and come back."""
    code = """
import byteps_gc.mxnet as bps, mxnet as mx
for again in range(2):
    bps.init()
    a = mx.nd.ones(3)
    bps.push_pull(a, name="a")
    print(bps.rank(), bps.size(), a.asnumpy().sum())
    bps.shutdown()
"""
    result = commands.python("-c", code)
    assert result.status == 0, result.output
    assert result.output.count("0 1 3.0") == 2
