"""A worker that exchanges gradients through MXNet's own KVStore: kvstore_worker.py '{"shapes": ..., "rounds": ...}'

For :mod:`byteps_gc.bench.peers`.
"""

import json
import sys

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
from byteps_gc.bench.peers import worker_timing


def main() -> None:
    """Push and pull all gradients, round after round."""
    import mxnet as mx

    options = json.loads(sys.argv[1])
    store = mx.kv.create("dist_sync")
    if options["compression"]:
        store.set_gradient_compression(options["compression"])
    mx.random.seed(store.rank)
    gradients = [mx.nd.random.normal(shape=shape) for shape in options["shapes"]]
    sums = [mx.nd.zeros(shape) for shape in options["shapes"]]
    for key, gradient in enumerate(gradients):
        store.init(key, mx.nd.zeros_like(gradient))
    mx.nd.waitall()

    def exchange() -> None:
        for key, gradient in enumerate(gradients):
            store.push(key, gradient, priority=-key)
            store.pull(key, sums[key], priority=-key)
        mx.nd.waitall()

    worker_timing.take(options["warm_up"], options["rounds"], store._barrier, exchange)


if __name__ == "__main__":
    main()
