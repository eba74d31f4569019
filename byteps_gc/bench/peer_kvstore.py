"""A worker that exchanges gradients through MXNet's own KVStore: peer_kvstore.py '{"shapes": ..., "rounds": ...}'

For :mod:`byteps_gc.bench.peers`; what it prints is what engine_worker prints.
"""

import json
import sys
import time

from byteps_gc.bench.cpu import BEGIN, END
from byteps_gc.bench.engine_worker import RESULT, say


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
    seconds = []
    for number in range(options["warm_up"] + options["rounds"]):
        store._barrier()
        if number == options["warm_up"]:
            say(BEGIN)
        begin = time.monotonic()
        for key, gradient in enumerate(gradients):
            store.push(key, gradient, priority=-key)
            store.pull(key, sums[key], priority=-key)
        mx.nd.waitall()
        seconds.append(time.monotonic() - begin)
    say(END)
    store._barrier()
    say(RESULT + json.dumps({"rounds": seconds[options["warm_up"] :]}))


if __name__ == "__main__":
    main()
