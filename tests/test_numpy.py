"""The NumPy front end on real clusters: exact sums, the compressors' definitions bit for bit, failures and ends."""

import json
import os
import re
import signal
import sys

from byteps_gc.cluster import supervisor
from byteps_gc.compressors.registry import kinds
from gradient_reference import BAD, expected
import mistakes
import pytest

from conftest import PROGRAMS, ROOT
import marks

pytestmark = pytest.mark.cluster

ROUNDS = 6
THRESHOLD = 4000  # bytes
PARTITION = 65536  # bytes
EF = {"ef": "vanilla"}
CASES = [
    *({"params": {"compressor": kind.name, **options}, "momentum": 0} for kind in kinds() for options in kind.examples),
    *({"params": {"compressor": kind.name, **kind.examples[0], **EF}, "momentum": 0} for kind in kinds()),
    {"params": {"compressor": "onebit", "scaling": True, "momentum": "nesterov", **EF}, "momentum": 0.9},
    {"params": {"compressor": "topk", "k": 0.01, "momentum": "nesterov", "fp16": True, **EF}, "momentum": 0.5},
    {"params": {"fp16": True}, "momentum": 0},
    {"params": {"bf16": True}, "momentum": 0},
]
PLAIN = {"params": {}, "momentum": 0}


def found(commands, front_end, cases, first=0, end=ROUNDS):
    """Return what gradient_rounds.py finds for each case in rounds ``first`` to ``end``, the same on both workers."""
    result = commands.launch(
        PROGRAMS / "gradient_rounds.py",
        front_end,
        end,
        json.dumps(cases),
        first,
        BYTEPS_MIN_COMPRESS_BYTES=str(THRESHOLD),
        BYTEPS_PARTITION_BYTES=str(PARTITION),
    )
    assert result.status == 0, result.output
    by_worker = [re.findall(rf"worker-{worker} \| FOUND (.*)", result.output) for worker in range(2)]
    assert by_worker[0] == by_worker[1] and len(by_worker[0]) == len(cases)
    return [json.loads(line) for line in by_worker[0]]


def run(commands, program, **options):
    """Run a program on two workers; return its result. ``bps`` and ``np`` are imported, and BytePS is started."""
    return commands.launch("-c", f"import byteps_gc.numpy as bps, numpy as np, sys\nbps.init()\n{program}", **options)


def interrupted(commands, program):
    """Run a program on two workers, and interrupt the one that prints "waiting" and its process id; return the rest."""
    program = f"import byteps_gc.numpy as bps, numpy as np\nbps.init()\n{program}"
    child = commands.start(sys.executable, "-m", "byteps_gc", "launch", "--", sys.executable, "-c", program)
    pid = next(int(line.split()[-1]) for line in child.stdout if "waiting" in line)
    os.kill(pid, signal.SIGINT)
    return marks.rest_of_output(child, 30)


def test_every_compressor_gives_the_bits_of_its_definition(commands):
    """Also after a step in which one worker's gradient was not finite, which all workers skip."""
    cases = [*CASES, PLAIN]
    for number, (case, rounds) in enumerate(zip(cases, found(commands, "numpy", cases))):
        assert rounds == expected(case, number, ROUNDS, THRESHOLD, PARTITION // 4), case


RESUMED = [
    {"params": {"compressor": "topk", "k": 0.01, "momentum": "nesterov", **EF}, "momentum": 0.9},
    {"params": {"compressor": "randomk", "k": 0.1, **EF}, "momentum": 0},
    {"params": {"compressor": "dithering", "k": 4}, "momentum": 0},
]


def test_a_new_process_continues_from_saved_states(commands):
    """The first process saves after a step that was skipped."""
    whole = found(commands, "numpy", RESUMED)
    first = found(commands, "numpy", RESUMED, 0, BAD + 1)
    second = found(commands, "numpy", RESUMED, BAD + 1, ROUNDS)
    assert [one + other for one, other in zip(first, second)] == whole


def test_another_workers_state_gives_the_step_counters_only(commands):
    program = """
import warnings
params = {"compressor": "topk", "k": 0.01, "ef": "vanilla"}
gradient = np.arange(30000, dtype="f4")
exchange = bps.Exchange([gradient], params)
exchange.push_pull()
state = exchange.state_dict()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    exchange.load_state_dict({**state, "rank": 9})
(part,) = exchange.state_dict()["gradients"]["gradient 0"]
(before,) = state["gradients"]["gradient 0"]
print("loaded", part["step"] == before["step"] > 0, part["residual"].any(), caught[0].message)
for changed in ({"compression": {}}, {"gradients": {}}, {"momentum": {"w": gradient}}):
    try:
        exchange.load_state_dict({**state, **changed})
    except bps.ExchangeError as error:
        print("rejected", error)
"""
    result = run(commands, program, BYTEPS_MIN_COMPRESS_BYTES="0")
    assert result.status == 0, result.output
    warning = r"the state is of worker 9 of 2: error feedback of worker \d of 2 starts from zero"
    assert len(re.findall(f"loaded True False {warning}", result.output)) == 2, result.output
    for name in ("compression", "compressed gradients", "gradients with momentum of their own"):
        assert result.output.count(f"rejected the saved state has another {name}: ") == 2, result.output


def test_both_front_ends_give_the_same_bits(commands):
    assert found(commands, "numpy", CASES) == found(commands, "mxnet", CASES)


def test_sums_and_means_of_all_dtypes_are_numpys(commands):
    """Run where MXNet cannot be imported."""
    program = """
sys.modules["mxnet"] = None
def sent(worker, dtype, shape):
    values = np.random.RandomState(worker).randn(*shape) * 100
    return np.asarray(values).astype(dtype)
for dtype in ("float16", "float32", "float64", "uint8", "int8", "int32", "int64"):
    for shape in ((), (1,), (3, 5, 7), (300001,)):
        want = np.asarray(sent(0, dtype, shape) + sent(1, dtype, shape)).astype(dtype)
        array = sent(bps.rank(), dtype, shape)
        assert bps.push_pull(array, average=False) is array
        assert array.tobytes() == want.tobytes(), (dtype, shape)
        array = sent(bps.rank(), dtype, shape)
        try:
            bps.push_pull(array, name=f"mean.{dtype}.{shape}")
            assert array.tobytes() == (want / np.asarray(2, dtype)).astype(dtype).tobytes(), (dtype, shape)
        except bps.ExchangeError as error:
            print("rejected", error)
handles = [bps.push_pull_async(np.full(1000, number, "f4"), f"many.{number}", False) for number in range(50)]
assert all((handle.wait() == 2 * number).all() and handle.done() for number, handle in enumerate(handles))
print("exact", bps.rank(), bps.size(), bps.local_rank(), bps.local_size(), bps.sent_bytes() > 0)
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert "exact 0 2 0 1 True" in result.output and "exact 1 2 0 1 True" in result.output
    assert result.output.count("rejected mean.int8.(1,): cannot average int8; pass average=False and divide the") == 2
    assert result.output.count("rejected") == 2 * 4 * 4


def test_a_step_that_is_not_finite_is_reported_to_all(commands):
    """Also without compression."""
    program = """
for params in ({}, {"compressor": "onebit"}):
    gradient = np.ones(99999, np.float32)
    exchange = bps.Exchange({"weight": gradient}, params)
    gradient[-1] = np.nan if bps.rank() else 1
    print("bad", exchange.push_pull(0.1), exchange.skipped_steps)
    gradient[:] = bps.rank()
    print("good", exchange.push_pull(0.1), exchange.skipped_steps)
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert result.output.count("bad False 1") == result.output.count("good True 1") == 4
    warning = "a gradient is not finite: all workers skip this step (1 skipped so far)"
    assert len(re.findall(rf"worker-0 \| .*{re.escape(warning)}", result.output)) == 1  # Python prints it once
    assert len(re.findall(rf"worker-1 \| .*{re.escape(warning)}", result.output)) == 0


def test_broadcast_brings_every_bit(commands):
    program = """
special = np.array([-0.0, np.nan, np.inf, 5e-324])
special.view(np.uint64)[1] += 1  # another NaN
for root in range(2):
    for value in (special, np.array([True, False]), np.array([1 + 2j]), np.arange(12, dtype=">i2").reshape(3, 4)):
        array = value.copy() if bps.rank() == root else np.zeros_like(value)
        try:
            bps.broadcast(array, root)
            assert array.tobytes() == value.tobytes()
        except bps.ExchangeError as error:
            print("rejected", error)
    for content in (b"", b"text", bytes(range(256)) * 40000):
        assert bps.broadcast(content if bps.rank() == root else None, root, name="content") == content
try:
    bps.broadcast(b"", 2)
except bps.ExchangeError as error:
    print("absent", error)
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert result.output.count("rejected broadcast.3 has dtype >i2") == 2
    assert result.output.count("absent root_rank=2 is not a worker that takes part: it does not exist, or has") == 2


MISTAKES = {
    "bps.push_pull([1.0], 'a')": "a is a list, not a NumPy array",
    "bps.push_pull(np.zeros(3, bool), 'a')": "a has dtype bool and shape (3,); accepted: float16, float32,",
    "bps.push_pull(np.zeros(0), 'a')": "a has dtype float64 and shape (0,); accepted: ",
    "bps.push_pull(np.zeros((4, 4))[:, 0], 'a')": "a is read-only or not C-contiguous; pass a copy",
    "bps.push_pull(np.zeros(5), 'known')": "known has shape (5,) and dtype float64, but was exchanged with shape (4,)",
    "bps.Exchange([])": "gradients is empty: there is nothing to exchange",
    "bps.Exchange(np.zeros(3, 'f4'))": "gradients is a ndarray, not a mapping or a sequence of arrays",
    "bps.Exchange({'w': np.zeros(3)})": "w has dtype float64 and shape (3,); accepted: float32, not empty",
    "bps.Exchange([one, one])": "gradient 0 and gradient 1 share memory; give each gradient an array of its own",
    "bps.Exchange([one], {'compressor': 'gzip'})": "unknown compressor 'gzip'",
    "bps.Exchange([one], {'compressor': 'topk'})": "topk needs k",
    "bps.Exchange([one], {'compressor': 'onebit', 'momentum': 'nesterov'})": "momentum=0.0 with compression_params[",
    "bps.Exchange([one], momentum=0.9)": "pass a coefficient above 0 and below 1 together with 'nesterov', or neither",
    "exchange.push_pull(float('nan'))": "learning rate nan is not a finite float32 of at least 0",
}


def test_mistakes_are_one_line_and_leave_the_cluster_usable(commands):
    program = f"""
one = np.ones(3, np.float32)
bps.push_pull(np.zeros(4), "known")
exchange = bps.Exchange([one])
{mistakes.program(MISTAKES)}
assert exchange.push_pull() and (one == 1).all()
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    mistakes.check(result.output, MISTAKES)


@pytest.mark.parametrize(
    "call, words",
    [
        ("bps.push_pull([])", "push_pull.0 is a list, not a NumPy array"),
        (
            "bps.Exchange({str(bps.rank()): np.zeros(3, 'f4')})",
            "gradient 0 is not the same on all workers: 0 (3,) float32 ",
        ),
        ("bps.Exchange([np.zeros(3, 'f4')] * (1 + bps.rank()))", "share memory"),
        ("bps.Exchange([np.zeros(3, 'f4')], {'fp16': True} if bps.rank() else {})", "have different settings: "),
        ("bps.shutdown(); bps.push_pull(np.zeros(3))", "BytePS is not running in this process; call bps.init() first"),
        ("bps.shutdown(); bps.init()", "cannot start BytePS again: this process has left its cluster"),
    ],
)
def test_an_uncaught_mistake_ends_the_job_with_one_line(commands, call, words):
    result = run(commands, call)
    assert result.status == 1, result.output
    assert words in result.output and "Traceback" not in result.output


def test_two_exchanges_of_one_name_at_a_time_are_rejected(commands):
    program = """
a = np.ones(4)
bps.push_pull(a, "a")
if bps.rank() == 0:
    handle = bps.push_pull_async(a, "a")
    try:
        bps.push_pull(np.ones(4), "a")
    except bps.ExchangeError as error:
        print("rejected", error)
    assert not handle.done()
bps.push_pull(np.ones(1), "both")
if bps.rank() == 0:
    print("sum", handle.wait())
else:
    bps.push_pull(a, "a")
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert "rejected an exchange of a is under way; wait for it before the next one" in result.output
    assert "sum [1. 1. 1. 1.]" in result.output


def test_shutdown_waits_for_what_is_under_way(commands):
    program = """
arrays = [np.full(100000, bps.rank() + 1.0) for _ in range(20)]
handles = [bps.push_pull_async(array, average=False) for array in arrays]
bps.shutdown()
assert all((array == 3).all() for array in arrays)
print("complete")
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert result.output.count("complete") == 2


def test_a_wait_ends_when_the_engine_is_closed(commands):
    program = """
import threading
from byteps_gc.core import engine
bps.push_pull(np.ones(3), "a")
if bps.rank():
    bps.push_pull(np.ones(1), "never")
handle = bps.push_pull_async(np.ones(3), "a")
def wait():
    try:
        handle.wait()
    except bps.ExchangeError as error:
        print("ended:", error, flush=True)
thread = threading.Thread(target=wait)
thread.start()
assert not handle.done()
engine.close()
thread.join()
sys.exit(7)
"""
    result = run(commands, program)
    assert result.status == 7, result.output
    assert "ended: BytePS was shut down during the exchange of a" in result.output


@pytest.mark.parametrize("name", ["'new'", "'known'"], ids=["registration", "exchange"])
def test_ctrl_c_interrupts_a_wait(commands, name):
    """The other worker never takes part, so the wait has no other end."""
    program = f"""
import os, signal
a = np.zeros(4)
bps.push_pull(a, 'known')
if bps.rank():
    signal.pause()
print('waiting', os.getpid(), flush=True)
bps.push_pull(a, {name})
"""
    output = interrupted(commands, program)
    assert "worker-0 failed with status 1" in output and "KeyboardInterrupt" in output


def test_an_interrupted_registration_can_be_repeated(commands):
    """The other worker registers after the interruption; another shape is rejected meanwhile."""
    program = """
import os
from byteps_gc.core import engine
poll = engine.poll
def polling(*arguments):
    engine.poll = poll
    print("waiting", os.getpid(), flush=True)
    return poll(*arguments)
a = np.full(4, bps.rank() + 1.0)
bps.push_pull(np.ones(1), "interrupted")
if bps.rank():
    bps.push_pull(np.ones(1), "interrupted")
else:
    engine.poll = polling
    try:
        bps.push_pull(a, "new")
    except KeyboardInterrupt:
        pass
    try:
        bps.push_pull(np.ones(5), "new")
    except bps.ExchangeError as error:
        print("rejected", error)
    bps.push_pull(np.ones(1), "interrupted")
print("sum", bps.push_pull(a, "new", average=False))
"""
    output = interrupted(commands, program)
    assert output.count("sum [3. 3. 3. 3.]") == 2, output
    assert "rejected new has shape (5,) and dtype float64, but was exchanged with shape (4,)" in output


def test_a_server_that_never_answers_a_registration_is_one_line(commands):
    """As one without the compressors: here the other worker never registers, while ours seem to be announced."""
    program = """
import signal
from byteps_gc import native
if bps.rank():
    signal.pause()
announced = iter([0, 1])
native.registered = lambda: next(announced, 0)
bps.push_pull(np.ones(3), "a")
"""
    result = run(commands, program, BYTEPS_GC_REGISTRATION_TIMEOUT="1")
    assert result.status == 1, result.output
    line = "worker-0 | -c: a: a server has not answered within 1 s; for compression, start all servers with python -m"
    assert line in result.output and "Traceback" not in result.output


@pytest.mark.parametrize("end", ["bps.shutdown()", "pass"], ids=["shutdown", "exit"])
def test_ctrl_c_interrupts_leaving(commands, end):
    """The other worker never leaves."""
    program = f"""
import os, signal
from byteps_gc.core import engine
bps.push_pull(np.zeros(4), 'known')
if bps.rank():
    signal.pause()
close = engine.close
def closing():
    close()
    print('waiting', os.getpid(), flush=True)
engine.close = closing
{end}
"""
    assert "worker-0 failed with status 1" in interrupted(commands, program)


def test_ctrl_c_interrupts_the_start(commands):
    """There is no scheduler to connect to."""
    names = {"DMLC_NUM_WORKER": "2", "DMLC_NUM_SERVER": "1", "DMLC_WORKER_ID": "0", "DMLC_ROLE": "worker"}
    names.update(DMLC_PS_ROOT_URI="127.0.0.1", DMLC_PS_ROOT_PORT=str(supervisor.free_port()))
    program = "import byteps_gc.numpy as bps; print('starting', flush=True); bps.init()"
    child = commands.start(sys.executable, "-c", program, **names)
    assert any("Creating Van" in line for line in child.stdout)
    child.send_signal(signal.SIGINT)
    output = marks.rest_of_output(child, 30)
    assert child.returncode == 1 and "KeyboardInterrupt" in output


def test_a_process_with_both_front_ends_has_one_engine(commands):
    program = """
import byteps_gc.mxnet as bpsmx, mxnet as mx
bpsmx.init()
assert (bpsmx.rank(), bpsmx.size()) == (bps.rank(), bps.size())
for number in range(3):
    a, b = np.full(5, bps.rank() + 1, "f4"), mx.nd.full(5, bps.rank() + 1)
    bps.push_pull(a, average=False)
    bpsmx.push_pull(b, is_average=False)
    assert (a == 3).all() and (b.asnumpy() == 3).all()
bpsmx.push_pull(mx.nd.ones(3), name="theirs")
try:
    bps.push_pull(np.ones(3, "f4"), "theirs")
except bps.ExchangeError as error:
    print("rejected", error)
libraries = {line.split()[-1] for line in open("/proc/self/maps") if "byteps/core/c_lib.so" in line}
print("libraries", len(libraries))
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    assert result.output.count("rejected theirs is exchanged by byteps_gc.mxnet in this process; use another name") == 2
    assert result.output.count("libraries 1") == 2


def test_one_process_without_a_cluster(commands):
    program = """
import byteps_gc.numpy as bps, numpy as np
for number in range(2):
    bps.init()
    a = np.arange(4.0)
    bps.push_pull(a)
    assert (a == np.arange(4)).all() and bps.broadcast(b"x") == b"x"
    w = np.arange(99999, dtype="f4")
    exchange = bps.Exchange([w], {"compressor": "onebit", "ef": "vanilla", "scaling": True})
    assert exchange.push_pull(0.1) and (w == np.arange(99999)).all()
    bps.shutdown()
print("alone")
"""
    result = commands.python("-c", program)
    assert result.status == 0 and "alone" in result.output, result.output


def test_the_example_of_the_page_runs(commands):
    """As it stands in docs/numpy.md."""
    page = (ROOT / "docs" / "numpy.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (commands.folder / "regression.py").write_text(example)
    result = commands.launch(commands.folder / "regression.py")
    assert result.status == 0, result.output
    errors = [float(text) for text in re.findall(r"worker-0 \| .*error ([0-9.]+)", result.output)]
    assert len(errors) > 1 and errors[-1] < 0.1 < errors[0]
