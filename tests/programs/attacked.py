"""A worker that exchanges until it is asked to end, and writes a digest of all sums after each round.

attacked.py FOLDER ROUNDS PACE: the digests go to FOLDER/worker-RANK, a line each. It ends some rounds after FOLDER/end
exists, the same number on all workers, or after ROUNDS. A round takes at least PACE seconds. Run with
BYTEPS_MIN_COMPRESS_BYTES=0.
"""

import hashlib
from pathlib import Path
import sys
import time

import byteps_gc.numpy as bps
import numpy as np

from exchange import sent

DENSE = (1, 4096, 70001)
ONEBIT = (4096, 50000, 120001)
PARAMS = {"compressor": "onebit", "scaling": True, "ef": "vanilla"}
RATE = 0.1
LAST_ROUNDS = 3  # after the workers agree to end


def exchange(dense, gradients, gradient_exchange, number):
    """Sum one round's numbers over all workers, in place."""
    for index, array in enumerate((*dense, *gradients)):
        array[:] = sent(bps.rank(), index, number, array.size, bps.size())
    handles = [bps.push_pull_async(array, f"dense_{array.size}", average=False) for array in dense]
    if not gradient_exchange.push_pull(RATE):
        sys.exit(f"round {number}: a gradient is not finite")
    for handle in handles:
        handle.wait()


def anyone(flag):
    """Return whether a worker raises its flag."""
    return bps.push_pull(np.array([float(flag)]), "votes", average=False)[0] > 0


def main():
    folder, rounds, pace = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    bps.init()
    dense, gradients = ([np.zeros(size, np.float32) for size in sizes] for sizes in (DENSE, ONEBIT))
    gradient_exchange = bps.Exchange(gradients, PARAMS, average=False)
    digest, last = hashlib.sha256(), rounds
    with open(str(folder / f"worker-{bps.rank()}"), "w") as lines:
        for number in range(rounds):
            exchange(dense, gradients, gradient_exchange, number)
            for array in (*dense, *gradients):
                digest.update(array.tobytes())
            print(digest.hexdigest(), file=lines, flush=True)
            if last == rounds and anyone((folder / "end").exists()):
                last = number + LAST_ROUNDS
            if number == last:
                break
            time.sleep(pace)
    print(f"worker {bps.rank()} has ended", flush=True)


if __name__ == "__main__":
    main()
