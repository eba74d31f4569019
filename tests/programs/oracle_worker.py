"""A worker that executes the operations of random training programs: oracle_worker.py HOST:PORT

It connects to the test (see oracle_cluster.py), and answers each operation with its state or with a traceback.
"""

import sys
import traceback

import byteps_gc.mxnet as bps

from oracle_cluster import connect
from oracle_model import Model, compression, optimizer_options


class Worker(Model):
    """The model of one worker, trained by DistributedTrainer."""

    def make_trainer(self, rate):
        options = optimizer_options(self.spec, rate)
        params, optimizer = self.net.collect_params(), self.spec["optimizer"]
        trainer = bps.DistributedTrainer(params, optimizer, options, compression_params=compression(self.spec))
        if self.spec["broadcast"]:
            trainer.broadcast_parameters()
        return trainer

    def train(self, op):
        self.backward(op, self.rank)
        self.apply(op, op["sizes"][self.rank])

    def source(self):
        return "worker 0"

    def state(self):
        return dict(super().state(), skipped=self.trainer.skipped_steps)


def answers(connection):
    """Execute operations as they arrive, and yield each one's answer."""
    model = None
    while True:
        try:
            op = connection.recv()
        except EOFError:
            return
        try:
            if op["do"] == "begin":
                model = Worker(op["spec"], bps.rank(), op["folder"], f"worker {bps.rank()}")
            yield model.do(op)
        except Exception:
            yield {"error": traceback.format_exc()}


def main():
    bps.init()
    connection = connect(sys.argv[1], bps.rank())
    for answer in answers(connection):
        connection.send(answer)


if __name__ == "__main__":
    main()
