"""The PyTorch front end on real clusters, against DistributedDataParallel on gloo in the same program.

Run in the environment of ``./scripts/setup.sh --torch``.
"""

import json
import os
from pathlib import Path
import re
import signal
import sys
import time

from byteps_gc.compressors.registry import kinds
from gradient_reference import expected
import mistakes
import pytest

from conftest import PROGRAMS, ROOT, commands_in
import marks

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed here: ./scripts/setup.sh --torch makes its environment"
)

pytestmark = [pytest.mark.cluster, pytest.mark.torch]

together = pytest.mark.xdist_group("torch")  # they share a job
ORACLE = PROGRAMS / "torch_oracle.py"
THRESHOLD = "1000"  # bytes
PLAIN = (
    "plain momentum nesterov adamw groups accumulate clipped unused frozen shared transposed channels_last bucket_views"
    " static_graph uneven bfloat16 float16 float64 autocast scaled kept_gradients forked_loader two_models closure"
    " compiled lane overlap"
).split()
COMPRESSED = (
    "onebit onebit_buckets onebit_in_groups onebit_scaled onebit_unscaled onebit_poisoned onebit_clean onebit_lane"
    " onebit_moved onebit_moved_scaled onebit_moved_unscaled onebit_unused"
).split()
# what else older versions cannot do on CPUs: byteps_gc.torch itself works with them
LACKS = "PyTorch before 2.3 has no bfloat16 on gloo, and no float16 convolution and no GradScaler on CPUs"
since_2_3 = pytest.mark.skipif(torch.__version__ < (2, 3), reason=LACKS)
SINCE_2_3 = "bfloat16 float16 scaled onebit_scaled onebit_unscaled onebit_moved_scaled onebit_moved_unscaled".split()


def supported(cases):
    """Return the cases that this PyTorch can run."""
    return [case for case in cases if case not in SINCE_2_3 or torch.__version__ >= (2, 3)]


def marked(cases):
    """Return cases as parameters; those that this PyTorch cannot run are skipped."""
    return [pytest.param(case, marks=since_2_3) if case in SINCE_2_3 else case for case in cases]


def digests(output, workers=2):
    """Return the digests that torch_oracle.py printed, by case and kind; the same on all workers."""
    found = re.findall(r"FOUND (\w+) (\w+) (\w+)$", output, re.MULTILINE)
    by_case = {}
    for case, kind, digest in found:
        by_case.setdefault(case, {}).setdefault(kind, []).append(digest)
    assert all(len(each) == workers for by_kind in by_case.values() for each in by_kind.values()), by_case
    return {case: {kind: set(each) for kind, each in by_kind.items()} for case, by_kind in by_case.items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The digests of all cases, from one job."""
    with commands_in(tmp_path_factory.mktemp("oracle")) as runner:
        cases = supported(PLAIN + COMPRESSED)
        result = runner.launch(ORACLE, *cases, timeout=400, BYTEPS_MIN_COMPRESS_BYTES=THRESHOLD)
    assert result.status == 0, result.output
    return digests(result.output)


@together
@pytest.mark.parametrize("case", marked(PLAIN))
def test_final_weights_are_those_of_ddp(trained, case):
    by_kind = trained[case]
    assert len(by_kind) > 1 and len(set.union(*by_kind.values())) == 1, by_kind


@together
@pytest.mark.parametrize("case", marked(COMPRESSED))
def test_hook_and_optimizer_give_the_same_bits(trained, case):
    by_kind = trained[case]
    assert len(by_kind) == 2 and len(set.union(*by_kind.values())) == 1, by_kind


@together
@pytest.mark.parametrize(
    "case, other",
    [
        pytest.param(
            "onebit_scaled", "onebit_unscaled", marks=since_2_3
        ),  # a change of the loss's scale changes nothing
        ("onebit_poisoned", "onebit_clean"),  # a skipped step leaves no trace
        pytest.param("onebit_moved_scaled", "onebit_moved_unscaled", marks=since_2_3),
        ("onebit_buckets", "onebit"),
        ("onebit_lane", "onebit"),
        ("lane", "overlap"),
    ],
)
def test_two_ways_give_the_same_bits(trained, case, other):
    assert trained[case]["hook"] == trained[other]["hook"]


@together
def test_compression_changes_the_bits(trained):
    assert trained["onebit"]["hook"] != trained["momentum"]["hook"]
    assert trained["onebit_in_groups"]["hook"] != trained["groups"]["hook"]


@pytest.mark.parametrize("compiles_first", [False, True])
def test_hooks_of_an_optimizer_survive_an_old_torch_compile(monkeypatch, compiles_first):
    """Which replaces the class's step, once, by the one that it wraps."""
    from byteps_gc.torch import step_hooks

    class Optimizer(torch.optim.Optimizer):
        def step(self, closure=None):
            calls.append("step")

    def compile_something():
        Optimizer.step = getattr(Optimizer.step, "__wrapped__", Optimizer.step)
        Optimizer.step.hooked = True

    monkeypatch.setattr(step_hooks, "DROPS_HOOKS", True)
    calls, parameters = [], [torch.nn.Parameter(torch.ones(3))]
    first = Optimizer(parameters, {})
    if compiles_first:
        compile_something()
    step_hooks.add(first, lambda *arguments: calls.append("hook"))
    if not compiles_first:
        compile_something()
    second = Optimizer(parameters, {})
    step_hooks.add(second, lambda *arguments: calls.append("hook of the second"))
    first.step()
    second.step()
    assert calls == ["hook", "step", "hook of the second", "step"]


def test_every_compressor_gives_the_bits_of_its_definition(commands):
    """Also after a step in which one worker's gradient was not finite, which all workers skip."""
    ef = {"ef": "vanilla"}
    cases = [{"params": {"compressor": kind.name, **kind.examples[0], **ef}, "momentum": 0} for kind in kinds()]
    cases += [{"params": {"compressor": kind.name, **kind.examples[0]}, "momentum": 0} for kind in kinds()]
    cases += [{"params": {"fp16": True}, "momentum": 0}, {"params": {"compressor": "topk", "k": 0.01, "bf16": True}}]
    cases[-1]["momentum"] = 0
    nesterov = {"momentum": "nesterov", **ef}
    cases.append({"params": {"compressor": "onebit", "scaling": True, **nesterov}, "momentum": 0.9})
    cases.append({"params": {"compressor": "topk", "k": 0.01, "fp16": True, **nesterov}, "momentum": 0.5})
    result = commands.launch(
        PROGRAMS / "gradient_rounds.py",
        "torch",
        6,
        json.dumps(cases),
        BYTEPS_MIN_COMPRESS_BYTES="4000",
        BYTEPS_PARTITION_BYTES="65536",
    )
    assert result.status == 0, result.output
    by_worker = [re.findall(rf"worker-{worker} \| FOUND (.*)", result.output) for worker in range(2)]
    assert by_worker[0] == by_worker[1] and len(by_worker[0]) == len(cases)
    for number, (case, line) in enumerate(zip(cases, by_worker[0])):
        assert json.loads(line) == expected(case, number, 6, 4000, 65536 // 4), case


def test_a_new_process_continues_from_saved_states(commands):
    """Of model, optimizer and hook; also where the last step was skipped."""
    found = {}
    for part in ("whole", "first", "second"):
        options = {"BYTEPS_MIN_COMPRESS_BYTES": THRESHOLD, "BYTEPS_PARTITION_BYTES": "4096"}
        result = commands.launch(PROGRAMS / "torch_resume.py", part, **options)
        assert result.status == 0, result.output
        found[part] = digests(result.output)[part]
    for kind in ("hook", "optimizer"):
        assert found["second"][kind] == found["whole"][kind] != found["first"][kind]
        assert len(found["whole"][kind]) == 1


TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def test_torchrun_needs_no_other_process(commands):
    """Nothing is left when the job ends (see the fixture)."""
    words = ("--standalone", "--nproc-per-node", 2, ORACLE, "plain", "onebit")
    result = commands.run(*TORCHRUN, *words, BYTEPS_MIN_COMPRESS_BYTES=THRESHOLD)
    assert result.status == 0, result.output
    found = digests(result.output)
    assert len(set.union(*found["plain"].values())) == 1 and len(set.union(*found["onebit"].values())) == 1


def test_torchrun_on_two_hosts(commands):
    """Two agents, as on two hosts; before the process group is initialized, through torch's store."""
    program = """
import byteps_gc.torch as bps, os, torch
bps.init()
found = bps.push_pull(torch.full((3,), float(bps.rank())), average=False)
place = f"{bps.rank()} {bps.size()} {bps.local_rank()} {bps.local_size()}"
os.write(1, f"sum {found.tolist()} {place} {os.environ['DMLC_NUM_SERVER']}\\n".encode())  # in one piece
"""
    file = commands.folder / "sum.py"
    file.write_text(program)
    from byteps_gc.cluster.supervisor import free_port

    place = ("--nnodes", 2, "--nproc-per-node", 2, "--master-addr", "127.0.0.1", "--master-port", free_port())
    agents = [
        commands.start(*TORCHRUN, *place, "--node-rank", rank, file, BYTEPS_GC_SERVERS_PER_HOST="1")
        for rank in range(2)
    ]
    output = "".join(agent.communicate(timeout=120)[0] for agent in agents)
    assert all(agent.returncode == 0 for agent in agents), output
    for rank in range(4):
        assert f"sum [6.0, 6.0, 6.0] {rank} 4 {rank % 2} 2 2" in output, output


def test_a_failing_worker_ends_a_job_of_torchrun(commands):
    file = commands.folder / "fails.py"
    file.write_text(
        "import byteps_gc.torch as bps, torch, sys\nbps.init()\n"
        "if bps.rank():\n    sys.exit('gives up')\nbps.push_pull(torch.ones(3))\n"
    )
    result = commands.run(*TORCHRUN, "--standalone", "--nproc-per-node", 2, file)
    assert result.status == 1 and "gives up" in result.output, result.output
    assert not commands.gone()


START = """
import os, signal, sys, threading, warnings
import byteps_gc.torch as bps, torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
dist.init_process_group("gloo")
bps.init()
"""


def written(commands, program):
    """Write a program to a file; the process group and BytePS are started."""
    file = commands.folder / "program.py"
    file.write_text(START + program)
    return file


def run(commands, program, **options):
    """Run such a program on two workers."""
    return commands.launch(written(commands, program), **options)


def test_sums_means_and_broadcasts(commands):
    program = """
rank = bps.rank()
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.uint8):
    x = torch.arange(24).view(2, 3, 4).transpose(0, 2).to(dtype)
    found = bps.push_pull(x, average=False, name=str(dtype))
    assert found.dtype is dtype and found.shape == x.shape and torch.equal(found, x + x)
handles = [bps.push_pull_async_inplace(torch.full((50,), rank + 1.0)) for _ in range(20)]
assert all((bps.synchronize(handle) == 1.5).all() and bps.poll(handle) for handle in handles)
torch.manual_seed(rank)
model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(torch.bfloat16)
model[0].weight.data = model[0].weight.data.t().contiguous().t()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 * (1 + rank))
model(torch.randn(5, 3, dtype=torch.bfloat16)).sum().backward()
optimizer.step()
bps.broadcast_parameters(model.state_dict(), root_rank=1)
bps.broadcast_optimizer_state(optimizer, root_rank=1)
both = [None, None]
dist.all_gather_object(both, (model.state_dict(), optimizer.state_dict()))
def flat(value):
    if isinstance(value, dict):
        return [item for key, one in value.items() for item in [key, *flat(one)]]
    if isinstance(value, (list, tuple)):
        return [item for one in value for item in flat(one)]
    return [value.tolist() if torch.is_tensor(value) else value]
assert flat(both[0]) == flat(both[1]) and optimizer.param_groups[0]["lr"] == 0.2
print("all equal")
"""
    result = run(commands, program)
    assert result.status == 0 and result.output.count("all equal") == 2, result.output


MISTAKES = {
    "bps.push_pull([1.0], name='a')": "a is a list, not a tensor",
    "bps.push_pull(torch.zeros(0), name='a')": "a has dtype float32 and shape (0,); accepted: float16, bfloat16,",
    "bps.push_pull(torch.ones(3, dtype=torch.int32), name='a')": "a: cannot average int32; pass average=False",
    "bps.push_pull(torch.eye(3).to_sparse(), name='a')": "a is sparse_coo: sparse tensors are not supported",
    "bps.push_pull(torch.ones(3, device='meta'), name='a')": "a is on device meta; accepted: cpu, cuda",
    "bps.ddp_hook(model)": "model is a Linear, not a DistributedDataParallel; FSDP is not supported; without DDP, use",
    "bps.ddp_hook(DDP(nn.Embedding(5, 5, sparse=True)))": "model has sparse gradients, which are not supported; pass",
    "bps.ddp_hook(net, 3)": "optimizer is a int, not a torch.optim.Optimizer",
    "bps.ddp_hook(net, compressor='gzip')": "unknown compressor 'gzip'",
    "bps.ddp_hook(net, compressor='topk')": "topk needs k",
    "bps.ddp_hook(net, compressor='onebit', eff='vanilla')": "unknown option eff; known: compressor",
    "bps.ddp_hook(net, compressor='onebit', momentum='nesterov')": "momentum='nesterov' needs torch.optim.SGD as the",
    "bps.ddp_hook(net, sgd(), compressor='onebit', momentum='nesterov')": "needs an optimizer with a momentum above 0,",
    "bps.DistributedOptimizer(model)": "optimizer is a Linear, not a torch.optim.Optimizer",
    "bps.DistributedOptimizer(sgd(), backward_passes_per_step=0)": "backward_passes_per_step=0 is not an integer of",
    "bps.DistributedOptimizer(torch.optim.LBFGS(model.parameters()))": "LBFGS calls its closure several times a step",
    "bps.DistributedOptimizer(scheduled())": "make the DistributedOptimizer before the learning rate scheduler",
    "bps.DistributedOptimizer(optimizer)": "this optimizer is a DistributedOptimizer already",
    "bps.DistributedOptimizer(sgd(), [('a', model.weight), ('a', model.bias)])": "named_parameters has a name twice",
    "load(compression={})": "the saved state has another compression: {}, here {'ef': 'vanilla', 'scaling': True,",
    "load(partition_bytes=1)": "the saved state has another BYTEPS_PARTITION_BYTES: 1, here 4096000",
    "sparse()": "weight has a sparse gradient, which is not supported; pass sparse=False to the layer",
    "different()": "parameter 0 is not the same on all workers: weight (3, 3) float32 on worker 0; weight (4, 3)",
    "sharded()": "is sharded: FSDP is not supported; use DistributedDataParallel or none",
    "clip_early()": "weight: its gradient was changed while it was under way; call optimizer.synchronize() after",
    "model(x).sum().backward()": "its gradient is under way; call step() after backward_passes_per_step=1",
    "optimizer.zero_grad()": "gradients are under way; call step() or synchronize() before zero_grad()",
    "skip()": "gradients are under way; call optimizer.synchronize() before skip_synchronize()",
}


EF = {"compressor": "onebit", "scaling": True, "ef": "vanilla"}


def test_mistakes_are_one_line(commands):
    program = f"""
x, model = torch.ones(2, 3), nn.Linear(3, 3)
net = DDP(nn.Linear(3, 3))
sgd = lambda: torch.optim.SGD(model.parameters(), 0.1)
def scheduled():
    found = sgd()
    torch.optim.lr_scheduler.StepLR(found, 1)
    return found
optimizer = bps.DistributedOptimizer(sgd(), model.named_parameters())
def clip_early():
    model(x).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
compressed = bps.DistributedOptimizer(torch.optim.SGD([nn.Parameter(torch.ones(30000))], 0.1), None, {EF!r})
def load(**changed):
    state = compressed.state_dict()
    compressed.load_state_dict({{**state, "byteps_gc": {{**state["byteps_gc"], **changed}}}})
def sparse():
    model = nn.Embedding(5, 5, sparse=True)
    bps.DistributedOptimizer(torch.optim.SGD(model.parameters(), 0.1), model.named_parameters())
    model(torch.tensor([1])).sum().backward()
def different():
    model = nn.Linear(3, 3 + bps.rank())
    bps.DistributedOptimizer(torch.optim.SGD(model.parameters(), 0.1), model.named_parameters())
def sharded():
    from torch.distributed._tensor import DeviceMesh, Shard, distribute_tensor  # without _ from 2.5
    weight = nn.Parameter(distribute_tensor(torch.ones(4, 4), DeviceMesh("cpu", [0, 1]), [Shard(0)]))
    bps.DistributedOptimizer(torch.optim.SGD([weight], 0.1))
def skip():
    with optimizer.skip_synchronize():
        optimizer.step()
load()
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    load(rank=9)
assert "the state is of worker 9 of 2: error feedback of worker" in str(found[-1].message), found
{mistakes.program(MISTAKES)}
"""
    result = run(commands, program)
    assert result.status == 0, result.output
    mistakes.check(result.output, MISTAKES)


def test_a_mistake_that_the_server_finds_is_one_line(commands):
    """Although backward() raises what C++ makes of it."""
    program = """
net = DDP(nn.Linear(99, 99))
optimizer = torch.optim.SGD(net.parameters(), 0.1 * (1 + bps.rank()))
net.register_comm_hook(*bps.ddp_hook(net, optimizer, compressor="onebit", ef="vanilla"))
net(torch.ones(1, 99)).sum().backward()
"""
    result = run(commands, program, BYTEPS_MIN_COMPRESS_BYTES=THRESHOLD)
    assert result.status and "different learning rates: 0.1 and 0.2" in result.output, result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("kind", ["hook", "optimizer"])
def test_ctrl_c_ends_a_wait(commands, kind):
    """Worker 1 never takes part, so the wait has no other end; in the hook, autograd waits in C++."""
    distribute = {
        "hook": "net = DDP(net)\nnet.register_comm_hook(*bps.ddp_hook(net))",
        "optimizer": "optimizer = bps.DistributedOptimizer(optimizer)",
    }[kind]
    program = f"""
net = nn.Linear(9, 9)
optimizer = torch.optim.SGD(net.parameters(), 0.1)
{distribute}
if bps.rank():
    signal.pause()
threading.Timer(1, lambda: print('waiting', os.getpid(), flush=True)).start()
net(torch.ones(1, 9)).sum().backward()
optimizer.step()
"""
    file = written(commands, program)
    child = commands.start(sys.executable, "-m", "byteps_gc", "launch", "--", sys.executable, file)
    pid = next(int(line.split()[-1]) for line in child.stdout if "waiting" in line)
    os.kill(pid, signal.SIGINT)
    before = time.monotonic()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < before + 20:
        time.sleep(0.02)
    took = time.monotonic() - before
    output = marks.rest_of_output(child, 30)
    assert took < 3, f"{took:.1f} s\n{output}"
    assert "worker-0 failed with status 1" in output and "KeyboardInterrupt" in output, output


def test_one_process_without_a_cluster(commands):
    program = """
import byteps_gc.torch as bps, torch
bps.init()
weight = torch.nn.Parameter(torch.ones(40000))
optimizer = torch.optim.SGD([weight], 0.5)
optimizer = bps.DistributedOptimizer(optimizer, None, {"compressor": "onebit", "ef": "vanilla"})
weight.sum().backward()
optimizer.step()
assert (weight == 0.5).all() and bps.size() == 1
bps.shutdown()
print("alone")
"""
    result = commands.python("-c", program)
    assert result.status == 0 and "alone" in result.output, result.output


def test_the_examples_of_the_page_run(commands):
    """As they stand in docs/pytorch.md, the first under torchrun, the second under launch."""
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytorch.md").read_text(), re.DOTALL)
    assert len(examples) == 2
    starts = [(*TORCHRUN, "--nproc-per-node", 2), (sys.executable, "-m", "byteps_gc", "launch", "--", sys.executable)]
    for number, (example, start) in enumerate(zip(examples, starts)):
        file = commands.folder / f"example_{number}.py"
        file.write_text(example)
        result = commands.run(*start, file)
        assert result.status == 0, result.output
        losses = [float(text) for text in re.findall(r"loss ([0-9.]+)", result.output)]
        assert len(losses) > 2 and losses[-1] < 0.5 * losses[0], result.output
