"""What a worker of ``bench engine`` trains: a small net on random numbers, with BytePS or alone."""

import argparse
from typing import Any, Callable

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
from byteps_gc.bench.peers.worker_timing import BEGIN, END, say

INPUTS, WIDTH, CLASSES = 256, 512, 10  # six arrays, of 1.6 MB together, are exchanged
WARM_UP = 10  # steps
OPTIONS = {"learning_rate": 0.01, "momentum": 0.9}


def small_net(static: bool) -> Any:
    """Three dense layers with biases, hybridized: with static memory, all gradients come at once."""
    from mxnet import gluon, init

    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(WIDTH, activation="relu", in_units=INPUTS))
    net.add(gluon.nn.Dense(WIDTH, activation="relu", in_units=WIDTH))
    net.add(gluon.nn.Dense(CLASSES, in_units=WIDTH))
    net.initialize(init.Xavier())
    net.hybridize(static_alloc=static, static_shape=static)
    return net


def train(net: Any, trainer: Any, batch: int, steps: int) -> None:
    """Train for ``steps`` steps and wait for the end of each."""
    import mxnet as mx

    loss_function = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    data = mx.nd.random.normal(shape=(batch, INPUTS))
    label = mx.nd.random.randint(0, CLASSES, shape=(batch,)).astype("float32")
    for _ in range(steps):
        with mx.autograd.record():
            loss = loss_function(net(data), label)
        loss.backward()
        trainer.step(batch)
        mx.nd.waitall()


def measure(net: Any, trainer: Any, batch: int, steps: int, barrier: Callable[[], None]) -> None:
    """Train, and say when the measured steps begin and end."""
    train(net, trainer, batch, WARM_UP)
    barrier()
    say(BEGIN)
    train(net, trainer, batch, steps)
    say(END)
    barrier()


def together(static: bool, batch: int, steps: int) -> None:
    """Train with the other workers."""
    import byteps_gc.mxnet as bps
    import mxnet as mx

    bps.init()
    net, token = small_net(static), mx.nd.zeros(1)

    def barrier() -> None:
        bps.push_pull(token, name="barrier", is_average=False)
        token.wait_to_read()

    measure(net, bps.DistributedTrainer(net.collect_params(), "sgd", OPTIONS), batch, steps, barrier)


def alone(static: bool, batch: int, steps: int) -> None:
    """Train without BytePS."""
    import mxnet as mx

    net = small_net(static)
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", OPTIONS, kvstore=None)
    measure(net, trainer, batch, steps, lambda: None)


def main() -> None:
    """Train as the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--alone", action="store_true", help="without BytePS")
    parser.add_argument("--static", action="store_true", help="a net with static memory")
    opt = parser.parse_args()

    (alone if opt.alone else together)(opt.static, opt.batch, opt.steps)


if __name__ == "__main__":
    main()
