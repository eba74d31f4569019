"""The trainer is Gluon's trainer: programs that users write, and what is rejected. See also test_oracle.py."""

import re
import textwrap

import pytest

from conftest import PROGRAMS

pytestmark = pytest.mark.cluster

PROGRAM = PROGRAMS / "gluon_programs.py"
NAMES = [
    "stale_for_long",
    "half_precision",
    "several_trainers",
    "one_name",
    "equal_names",
    "in_another_order",
    "numpy_arrays",
]
BEGIN = """
import os, sys, tempfile
import byteps_gc.mxnet as bps, mxnet as mx
from byteps_gc.errors import UserError
from mxnet import autograd, gluon
bps.init()
rank = bps.rank()
def build(units=10, **options):
    net = gluon.nn.Dense(units, in_units=4, prefix="net_", **options)
    net.initialize()
    return net
def backward(net):
    with autograd.record():
        loss = net(mx.nd.ones((2, 4))).sum()
    loss.backward()
def rejected(call):
    try:
        call()
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        print("rejected:", error)
    else:
        print("NOT REJECTED")
"""


def launch(commands, code, **options):
    return commands.launch("-c", BEGIN + textwrap.dedent(code), **options)


@pytest.mark.slow
def test_programs_are_as_one_process(commands):
    """See test_oracle.py for other programs, on two workers and on three."""
    env = {"BYTEPS_MIN_COMPRESS_BYTES": "2000", "BYTEPS_PARTITION_BYTES": "4096"}
    result = commands.launch(PROGRAM, *NAMES, workers=3, **env)
    assert result.status == 0, result.output
    assert all(result.output.count(f"PASSED {name}") == 3 for name in NAMES)


def test_states_come_back(commands):
    result = commands.launch(PROGRAM, "states_in_place")
    assert result.status == 0, result.output


def test_calls_that_cannot_be_honoured(commands):
    """In one line, at construction or at the call, on all workers, which then continue."""
    code = """
    params = build().collect_params()
    inside = {"compressor": "identity", "momentum": "nesterov"}
    nesterov = {"learning_rate": 0.1, "momentum": 0.9}
    T = bps.DistributedTrainer
    rejected(lambda: T(params, "sgd", kvstore="device"))
    rejected(lambda: T(params, "sgdd"))
    rejected(lambda: T(params, "sgd", {"momentumm": 0.9}))
    rejected(lambda: T(params, mx.optimizer.SGD(), {"momentum": 0.9}))
    rejected(lambda: T(params, 3))
    rejected(lambda: T({}, "sgd"))
    rejected(lambda: T([1], "sgd"))
    rejected(lambda: T(list(params.values()) * 2, "sgd"))
    rejected(lambda: T(gluon.nn.Dense(1, in_units=1).collect_params(), "sgd"))
    rejected(lambda: T(build().collect_params(), "adam", nesterov, compression_params=inside))
    rejected(lambda: T(params, "sgd", dict(nesterov, clip_gradient=0.1), compression_params=inside))
    rejected(lambda: T(params, "sgd", root_rank=9))
    two = gluon.nn.Dense(1, in_units=1); two.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    rejected(lambda: T(two.collect_params(), "sgd"))
    sparse = gluon.nn.Embedding(4, 2, sparse_grad=True); sparse.initialize()
    rejected(lambda: T(sparse.collect_params(), "sgd"))
    net = build(); trainer = T(net.collect_params(), "sgd")
    backward(net)
    for size in (0, "many", None, float("nan")):
        rejected(lambda: trainer.step(size))
    rejected(lambda: trainer.update(1))
    trainer.step(1)
    rejected(lambda: trainer.step(1))
    backward(net)
    trainer.allreduce_grads()
    rejected(lambda: trainer.update(1 + rank))
    net = build(1000); trainer = T(net.collect_params(), "sgd", nesterov, compression_params=inside)
    backward(net); trainer.step(2); backward(net)
    trainer.optimizer.clip_gradient = 0.1
    rejected(lambda: trainer.step(2))
    trainer.optimizer.clip_gradient = None
    trainer.allreduce_grads(); net.weight.grad()[:] *= 0.5
    rejected(lambda: trainer.update(2))
    backward(net); trainer.allreduce_grads()
    rejected(lambda: trainer.update(3))
    """
    result = launch(commands, code, BYTEPS_MIN_COMPRESS_BYTES="1000")
    assert result.status == 0, result.output
    assert "NOT REJECTED" not in result.output
    lines = [line.split("rejected: ")[1] for line in result.output.splitlines() if "worker-0 | rejected: " in line]
    words = (
        "kvstore and update_on_kvstore", "unknown optimizer 'sgdd'; known: ", "cannot create optimizer sgd from",
        "cannot be combined with an Optimizer object", "not int", "params is empty", "params is not a list or dict",
        "params contains the same parameter twice", "call net.initialize() first",
        "pass the optimizer by name (sgd or nag)",
        "clip_gradient=0.1 cannot be", "root_rank=9", "cpu(0), cpu(1)", "sparse",
        "batch_size=0", "batch_size='many'", "batch_size=NoneType", "batch_size=nan",
        "update() without allreduce_grads()",
        "the gradient of net_bias has not been computed by backward", "needs the same batch size on all workers",
        "clip_gradient=0.1", "the gradient of net_weight was changed", "momentum inside the compressor was added for",
    )  # fmt: skip
    assert len(lines) == len(words), lines
    for line, word in zip(lines, words):
        assert word in line, (word, line)


STRUCTURES = {
    "shape": (
        "build(10 + rank)",
        "parameter 0 is not the same on all workers: net_bias (10,) float32 grad_req=write on worker 0; net_bias (11,)",
    ),
    "number": (
        "build(use_bias=rank == 0)",
        "parameter 0 is not the same on all workers: net_bias (10,) float32 grad_req=write on worker 0; net_weight",
    ),
    "dtype": ("build(dtype=('float32', 'float64')[rank])", "net_bias (10,) float64 grad_req=write on worker 1"),
    "name": (
        "(gluon.nn.Dense, gluon.nn.Dense)[rank](1, in_units=4, prefix='ab'[rank] + '_')",
        "a_bias (1,) float32 grad_req=write on worker 0; b_bias",
    ),
}


def test_workers_that_train_other_parameters(commands):
    """All of them say the same line, and which parameter it is."""
    code = """
    net = {}
    net.collect_params().initialize(force_reinit=True)
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd")
    rejected(trainer.broadcast_parameters)
    """
    result = launch(commands, "".join(textwrap.dedent(code).format(net) for net, _ in STRUCTURES.values()))
    assert result.status == 0, result.output
    said = [re.findall(rf"worker-{worker} \| rejected: (.*)", result.output) for worker in range(2)]
    assert said[0] == said[1] and len(said[0]) == len(STRUCTURES)
    for line, (_, words) in zip(said[0], STRUCTURES.values()):
        assert words in line, result.output


def test_workers_with_other_settings_or_another_order(commands):
    code = """
    params = {"compressor": "topk", "k": 0.1 * (rank + 1)}
    trainer = bps.DistributedTrainer(build().collect_params(), "sgd", compression_params=params)
    rejected(trainer.broadcast_parameters)
    layers = [gluon.nn.Dense(4, in_units=4) for _ in range(2)]
    for layer in layers:
        layer.initialize()
    params = [layer.weight for layer in layers]
    trainer = bps.DistributedTrainer(params[::-1] if rank else params, "sgd")
    rejected(trainer.broadcast_parameters)
    net = build(); trainer = bps.DistributedTrainer(net.collect_params(), "sgd")
    trainer.broadcast_parameters()
    if rank:
        net.weight.grad_req = "null"
    backward(net)
    rejected(lambda: trainer.step(1, ignore_stale_grad=True))
    """
    result = launch(commands, code)
    assert result.status == 0, result.output
    assert result.output.count("rejected: the workers' trainers have different settings: ") == 2
    assert result.output.count("rejected: parameter 0 is not the same on all workers: dense") == 2
    assert result.output.count("net_weight has grad_req='null' on some workers only") == 2


DRIFTS = {
    "rates": ('bps.DistributedTrainer(net.collect_params(), "sgd", {"learning_rate": 0.1 + rank})', "", "net_bias", 1),
    "weights": ("one", "net.bias.set_data(net.bias.data() + rank)", "net_bias", 6),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_drift_is_noticed(commands, what):
    """After the first step, then every BYTEPS_GC_CHECK_STEPS: all workers end, with the parameter and the step."""
    trainer, change, name, step = DRIFTS[what]
    code = f"""
    net = build()
    one = bps.DistributedTrainer(net.collect_params(), "sgd", {{"learning_rate": 0.1}})
    trainer = {trainer}
    for step in range(20):
        backward(net)
        trainer.step(2)
        if step == 3:
            {change or "pass"}
    print("not noticed")
    """
    result = launch(commands, code, BYTEPS_GC_CHECK_STEPS="3")
    assert result.status != 0 and "not noticed" not in result.output
    words = f"-c: parameters differ between workers after step {step}; the first to differ is {name} (checksum "
    assert result.output.count(words) >= 1 and "Likely causes: different learning rates" in result.output
    assert "Traceback" not in result.output


def test_averages_of_batch_normalization_are_exempt(commands):
    code = """
    net = gluon.nn.BatchNorm(in_channels=4)
    net.initialize()
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd")
    for step in range(4):
        with autograd.record():
            loss = net(mx.nd.random.normal(shape=(8, 4), scale=1 + rank)).sum()
        loss.backward()
        trainer.step(8)
    mean = net.running_var.data().copy()
    bps.push_pull(mean)
    print("differ", bool((mean != net.running_var.data()).asnumpy().any()))
    """
    result = launch(commands, code, BYTEPS_GC_CHECK_STEPS="1")
    assert result.status == 0, result.output
    assert result.output.count("differ True") == 2


def test_a_wrong_number_of_check_steps_is_one_line(commands):
    result = launch(commands, "", BYTEPS_GC_CHECK_STEPS="often")
    assert (result.status, result.output) == (
        2,
        "byteps_gc: BYTEPS_GC_CHECK_STEPS=often is not an integer from 0 to 2147483647\n",
    )
    result = commands.python("-c", BEGIN, BYTEPS_GC_CHECK_STEPS="-1", BYTEPS_FORCE_DISTRIBUTED="1")
    assert (result.status, result.output) == (
        1,
        "-c: BYTEPS_GC_CHECK_STEPS=-1 is not an integer from 0 to 2147483647\n",
    )


def test_a_process_that_has_left_says_that_it_cannot_return(commands):
    result = launch(commands, "bps.shutdown()\nrejected(bps.init)\nrejected(lambda: bps.push_pull(mx.nd.ones(1)))")
    assert result.status == 0, result.output
    assert result.output.count("rejected: cannot start BytePS again: this process has left its cluster") == 2
    assert result.output.count("rejected: BytePS is not running in this process") == 2


def test_states_of_others_are_rejected(commands):
    """Whatever the file is; nothing in it is unpickled, and nothing is changed."""
    code = """
    import pickle
    folder = tempfile.mkdtemp()
    def path(name):
        return os.path.join(folder, name)
    class Evil:
        def __reduce__(self):
            return print, ("unpickled",)
    net = build(); trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {"momentum": 0.9})
    def saved(name, net, optimizer, options):
        other = bps.DistributedTrainer(net.collect_params(), optimizer, options)
        backward(net); other.step(2); other.save_states(path(name))
    saved("adam", build(), "adam", {})
    saved("larger", build(11), "sgd", {"momentum": 0.9})
    saved("scheduler", build(), "sgd", {"momentum": 0.9, "lr_scheduler": mx.lr_scheduler.FactorScheduler(9)})
    gluon.Trainer(build().collect_params(), "sgd", kvstore=None).save_states(path("gluon"))
    net.save_parameters(path("parameters"))
    open(path("evil"), "wb").write(pickle.dumps(Evil()))
    open(path("empty"), "wb")
    backward(net); trainer.step(2); trainer.save_states(path("good"))
    open(path("half"), "wb").write(open(path("good"), "rb").read()[:-40])
    for name in ("adam", "larger", "scheduler", "gluon", "parameters", "evil", "empty", "half", "nothing"):
        rejected(lambda: trainer.load_states(path(name)))
    trainer.load_states(path("good"))
    rejected(lambda: trainer.save_states("/nowhere/states"))
    """
    result = launch(commands, code)
    assert result.status == 0, result.output
    assert "NOT REJECTED" not in result.output and "unpickled" not in result.output
    assert result.output.count("rejected: ") == 20
    for words in (
        "adam was saved by Adam, but this trainer uses SGD", "larger was saved for another net: parameter 0 is",
        "the saved states have lr_scheduler FactorScheduler, but this trainer has none", "cannot write /nowhere/states",
        "nothing: No such file or directory", "empty is empty",
    ):  # fmt: skip
        assert result.output.count(words) == 2, words
    assert result.output.count("was not written by DistributedTrainer.save_states of this version") == 8


def test_gluons_estimator_and_tokens(commands):
    """Gluon's Estimator with a last batch that is smaller on one worker, and step() with a number of tokens."""
    code = """
    import logging
    from mxnet.gluon.contrib.estimator import Estimator
    net = build()
    trainer = bps.DistributedTrainer(net.collect_params(), "adam")
    size = 40 + 8 * rank
    dataset = gluon.data.ArrayDataset(mx.nd.random.normal(shape=(size, 4)), mx.nd.ones((size, 10)))
    data = gluon.data.DataLoader(dataset, 16)
    estimator = Estimator(net, gluon.loss.L2Loss(), trainer=trainer, train_metrics=mx.metric.MSE())
    estimator.logger.setLevel(logging.ERROR)
    estimator.fit(data, epochs=2)
    trainer.check_parameters()
    for step in range(3):
        tokens = mx.nd.array([3 + step + rank])
        backward(net)
        trainer.step(tokens.sum().asscalar())
    trainer.check_parameters()
    print("equal")
    """
    result = launch(commands, code)
    assert result.status == 0, result.output
    assert result.output.count("equal") == 2
