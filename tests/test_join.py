"""bps.join(), and workers that end earlier than others."""

import json
import textwrap

import pytest

from conftest import PROGRAMS

pytestmark = pytest.mark.cluster

# name: (compression parameters, whether compressed values arrive as they were)
SETTINGS = {
    "none": ({}, True),
    "fp16": ({"fp16": True}, False),
    "identity": ({"compressor": "identity"}, True),
    "topk all": ({"compressor": "topk", "k": 1000, "ef": "vanilla"}, True),
    "onebit": ({"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"}, False),
    "randomk": ({"compressor": "randomk", "k": 0.2, "ef": "vanilla"}, False),
    "dithering": ({"compressor": "dithering", "k": 4}, False),
}
BATCHES = {
    2: [[1, 4], [3, 2]],
    3: [[3, 0, 1], [2, 2, 4]],
}
NONE = [[[0, 3], [2, 2]], [[2, 0], [0, 1]], [[3, 1, 0], [0, 0, 2]]]
BEGIN_IN_NUMPY = """
import sys
import byteps_gc.numpy as bps, numpy as np
bps.init()
rank = bps.rank()
def exchange(name="a"):
    bps.push_pull(np.ones(1000, np.float32), name, average=False)
"""
BEGIN = """
import atexit, os, sys
import byteps_gc.mxnet as bps, mxnet as mx
from byteps_gc.errors import UserError
bps.init()
rank = bps.rank()
def exchange(name="a", value=1.0):
    array = mx.nd.full(1000, value)
    bps.push_pull(array, name=name, is_average=False)
    return array[-1].asscalar()
"""
# lines of the launcher and of the engine that say what has ended a job
ENDS = ("byteps: ", "byteps_gc: ")


def launch(commands, code, **options):
    return commands.launch("-c", BEGIN + textwrap.dedent(code), **options)


def uneven(commands, workers, trainings):
    env = {"BYTEPS_MIN_COMPRESS_BYTES": "200", "BYTEPS_PARTITION_BYTES": "4096"}
    result = commands.launch(PROGRAMS / "uneven.py", json.dumps(trainings), workers=workers, **env)
    assert result.status == 0, result.output
    assert result.output.count("as the model") == workers * len(trainings)


@pytest.mark.parametrize("epochs", NONE, ids=str)
def test_a_joined_worker_counts_as_zeros(commands, epochs):
    """Two epochs, each ended by join(): the parameters are those of a model that adds zeros, on all workers.

    First a worker joins before it knows a shape, has declared a tensor, or has agreed about anything.
    """
    workers = len(epochs[0])
    trainings = [(epochs, *SETTINGS[name]) for name in ("none", "identity")]
    if epochs != NONE[1]:
        trainings += [(BATCHES[workers], *SETTINGS[name]) for name in SETTINGS]
    uneven(commands, workers, trainings)


def test_join_returns_the_last_worker_and_names_stay_in_order(commands):
    """What is declared while a worker has joined is known to it afterwards; the broadcast follows Horovod's idiom."""
    code = """
    for number in range(3 * rank):
        assert exchange("a", 1.0) == bps.size() - sum(3 * one <= number for one in range(bps.size()))
        bps.push_pull(mx.nd.ones(5))  # without a name
        exchange(f"b{number}")
    root = bps.join()
    params = {"weight": mx.nd.full(10, rank)}
    bps.broadcast_parameters(params, root_rank=root)
    array = mx.nd.ones(5)
    bps.push_pull(array, is_average=False)
    values = [one[0].asscalar() for one in (params["weight"], array)]
    print("root", root, *values, exchange("a"), exchange("b1"), bps.join() >= 0)
    """
    result = launch(commands, code, workers=3)
    assert result.status == 0, result.output
    assert result.output.count("root 2 2.0 3.0 3.0 3.0 True") == 3, result.output


def test_only_workers_that_take_part_are_compared(commands):
    """A mean divides by all workers; a broadcast's root takes part; a trainer's gradients are of those that do.

    allreduce_grads() and update(), stale gradients and checks of parameters, while rank 0 has joined.
    """
    code = """
    if rank == 0:
        array = mx.nd.full(10, 4.0)
        bps.push_pull(array, name="a")
        print("mean", array[0].asscalar())
    bps.join()
    if rank == 1:
        for root in (0, 5):
            try:
                bps.broadcast({"a": mx.nd.ones(3)}, root_rank=root)
            except UserError as error:
                print("rejected", error)
    bps.join()
    from mxnet import autograd, gluon
    net = gluon.nn.Dense(3, in_units=4, prefix="net_")
    net.initialize(mx.init.One())
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    def backward():
        with autograd.record():
            loss = net(mx.nd.ones((2, 4))).sum()
        loss.backward()
    for _ in range(3 * rank):
        backward()
        trainer.step(2, ignore_stale_grad=True)
        backward()
        trainer.allreduce_grads()
        trainer.update(2)
        trainer.check_parameters()
    bps.join()
    backward()
    trainer.step(2)
    weight = net.weight.data()[0, 0].asscalar()
    print(f"weight {weight:.4f}")
    """
    result = launch(commands, code, BYTEPS_GC_CHECK_STEPS="1")
    assert result.status == 0, result.output
    assert "mean 2.0" in result.output
    for root in (0, 5):
        assert f"rejected root_rank={root} is not a worker that takes part" in result.output
    # each gradient is 2 for a batch of 2: half counts with one worker of two
    assert result.output.count("weight 0.6000") == 2, result.output


def test_join_alone_and_in_asynchronous_training(commands):
    """Alone it returns at once; asynchronous workers do not wait for each other in exchanges, and do in join()."""
    code = BEGIN + "print('last', bps.join())"
    result = commands.python("-c", code)
    assert result.status == 0 and "last 0" in result.output, result.output
    code = """
    bps.push_pull(mx.nd.zeros(1000), name="a")
    for _ in range(1 + 3 * rank):
        exchange()
    print("last", bps.join() >= 0, exchange(value=0.0))
    """
    result = launch(commands, code, BYTEPS_ENABLE_ASYNC="1")
    assert result.status == 0, result.output
    assert result.output.count("last True 5.0") == 2, result.output


@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "bps.shutdown()"])
def test_a_worker_that_ends_too_early_ends_the_job(commands, end):
    """One line names the worker, its host, the tensor and the remedy."""
    code = f"for number in range(3 + rank):\n    exchange()\n{end}"
    result = commands.launch("-c", BEGIN_IN_NUMPY + code)
    line = (
        "byteps: worker-0 on 127.0.0.1 has ended after 3 exchanges of 'a' while worker-1 on 127.0.0.1 waits for the"
        " next one; call bps.join() when workers have different numbers of batches"
    )
    assert result.status == 70, result.output
    assert line in result.output


def test_a_tensor_that_a_worker_which_has_ended_never_had(commands):
    """Its name may have any characters."""
    program = "exchange()\nif rank == 1: exchange('b\u00e4')"
    result = commands.launch("-c", BEGIN_IN_NUMPY + program)
    assert result.status == 70, result.output
    assert "worker-0 on 127.0.0.1 has ended without an exchange of 'b??' while worker-1" in result.output


def test_a_trainers_tensor_is_named_with_its_parameter(commands):
    code = """
    from mxnet import autograd, gluon
    net = gluon.nn.Dense(3, in_units=4, prefix="net_")
    net.initialize(mx.init.One())
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    for _ in range(2 + rank):
        with autograd.record():
            loss = net(mx.nd.ones((2, 4))).sum()
        loss.backward()
        trainer.step(2)
    """
    result = launch(commands, code)
    assert result.status == 70, result.output
    names = ("'gradient_0' (net_bias)", "'gradient_1' (net_weight)")
    assert any(f"has ended after 2 exchanges of {name} while worker-1 on" in result.output for name in names)


def test_a_worker_that_ends_while_another_has_joined(commands):
    result = launch(commands, "exchange()\nif rank == 1: bps.join()")
    assert result.status == 70, result.output
    line = "worker-0 on 127.0.0.1 has ended without bps.join() while worker-1 on 127.0.0.1 waits in it"
    assert line in result.output


def test_a_worker_ends_long_before_another(commands):
    """The other one computes, without exchanges; nothing is said, and both end well."""
    code = """
    import time
    if rank == 0:
        exchange()
        atexit.register(open, "left", "w")  # before what bps.init() has registered, which leaves the cluster
    else:
        exchange()
        while not os.path.exists("left"):
            time.sleep(0.05)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            mx.nd.dot(mx.nd.ones((100, 100)), mx.nd.ones((100, 100))).wait_to_read()
        print("validated")
    """
    result = launch(commands, code)
    assert result.status == 0, result.output
    assert "validated" in result.output
    assert not any(word in result.output for word in ENDS), result.output
