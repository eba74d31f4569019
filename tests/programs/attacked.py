"""A worker that exchanges until it is told to end, and writes a digest of all sums after each round.

attacked.py FOLDER ROUNDS PACE: the digests go to FOLDER/worker-RANK, a line each. It ends some rounds after FOLDER/end
exists, the same number on all workers, or after ROUNDS. A round takes at least PACE seconds.
"""

import hashlib
from pathlib import Path
import sys
import time

from byteps_gc import native
from byteps_gc.compressors import engine_keys
from byteps_gc.compressors.settings import Settings
import byteps_gc.mxnet as bps
import mxnet as mx

from exchange import sent

DENSE = (1, 4096, 70001)
ONEBIT = (4096, 50000, 300001)
PARAMS = {"compressor": "onebit", "scaling": True, "ef": "vanilla"}
RATE = 0.1
LAST_ROUNDS = 3  # after the workers agree to end


def declared():
    """The tensors by name: their arrays, and the compressors' step states of those that have one."""
    settings, arrays, states = Settings.from_params(PARAMS), {}, []
    for size in DENSE:
        arrays[f"dense_{size}"] = mx.nd.zeros(size)
    for size in ONEBIT:
        name = f"onebit_{size}"
        bps.declare(name, 4 * size, **engine_keys.engine_options(settings, None, name, True))
        arrays[name] = mx.nd.zeros(size)
        states.append(native.Tensor(name))
    return arrays, states


def exchange(arrays, states, number):
    """Sum one round's numbers over all workers."""
    for state in states:
        state.step(RATE)
    for index, (name, array) in enumerate(arrays.items()):
        array[:] = mx.nd.array(sent(bps.rank(), index, number, array.size, bps.size()))
        bps.push_pull(array, name=name, is_average=False)
    for array in arrays.values():
        array.wait_to_read()
    for state in states:
        _, failure = state.outcome()
        if failure:
            sys.exit(failure)


def anyone(flag):
    """Whether a worker raises its flag."""
    votes = mx.nd.array([float(flag)])
    bps.push_pull(votes, name="votes", is_average=False)
    return votes.asscalar() > 0


def main():
    folder, rounds, pace = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    bps.init()
    arrays, states = declared()
    digest, last = hashlib.sha256(), rounds
    with open(str(folder / f"worker-{bps.rank()}"), "w") as lines:
        for number in range(rounds):
            exchange(arrays, states, number)
            for array in arrays.values():
                digest.update(array.asnumpy().tobytes())
            print(digest.hexdigest(), file=lines, flush=True)
            if last == rounds and anyone((folder / "end").exists()):
                last = number + LAST_ROUNDS
            if number == last:
                break
            time.sleep(pace)
    print(f"worker {bps.rank()} has ended", flush=True)


if __name__ == "__main__":
    main()
