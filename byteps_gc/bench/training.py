"""What a worker of ``bench step`` runs: a few training steps of a model on random images, each timed."""

import argparse
import json
from pathlib import Path
import time

from byteps_gc.training.compression_flags import add_compression, compression
from byteps_gc.training.models import classifier

WARM_UP = 4  # steps: the first sends the parameters, and each state is touched twice
LEARNING_RATE = 0.01
CLASSES = 10
PIXELS = 32  # of a side of the images


def main() -> None:
    """Train; rank 0 writes the seconds of each step to ``--out``, as a JSON list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    add_compression(parser)
    opt = parser.parse_args()
    settings = compression(opt)

    import byteps_gc.mxnet as bps
    import mxnet as mx

    bps.init()
    mx.random.seed(opt.seed)
    net = classifier("--model", opt.model, CLASSES, PIXELS)
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = bps.DistributedTrainer(
        net.collect_params(),
        "sgd" if settings.compressor else "nag",
        {"learning_rate": LEARNING_RATE, "momentum": 0.9, "wd": 1e-4},
        compression_params=settings,
    )
    loss_function = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    mx.random.seed(bps.rank())
    data = mx.nd.random.normal(shape=(opt.batch_size, 3, PIXELS, PIXELS))
    label = mx.nd.random.randint(0, CLASSES, shape=(opt.batch_size,)).astype("float32")
    seconds = []
    for _ in range(WARM_UP + opt.steps):
        begin = time.monotonic()
        with mx.autograd.record():
            loss = loss_function(net(data), label)
        loss.backward()
        trainer.step(opt.batch_size)
        mx.nd.waitall()
        seconds.append(time.monotonic() - begin)
    if bps.rank() == 0:
        opt.out.write_text(json.dumps(seconds[WARM_UP:]))


if __name__ == "__main__":
    main()
