"""A worker that exchanges gradients as PyTorch's DistributedDataParallel does, with gloo: ddp_worker.py '{...}'

For :mod:`byteps_gc.bench.peers`, in an environment of its own that has PyTorch and not this package.
"""

import json
import sys

import torch
from torch import distributed
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel
import worker_timing

ONE_BUCKET = 4096  # MiB


class Gradients(torch.nn.Module):
    """Parameters of given shapes, whose gradients are what is given to ``forward``; nearly nothing is computed."""

    def __init__(self, shapes):
        super().__init__()
        self.parts = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes])

    def forward(self, gradients):
        return sum(torch.dot(one.flatten(), gradient) for one, gradient in zip(self.parts, gradients))


def wrapped(net, hook):
    """The module in DDP, with a communication hook of this name: "", fp16, powersgd-RANK."""
    if not hook.startswith("powersgd"):
        net = DistributedDataParallel(net, gradient_as_bucket_view=True)
        if hook == "fp16":
            net.register_comm_hook(None, default_hooks.fp16_compress_hook)
        return net
    # with gloo, the steps of several buckets would overtake each other on one worker and meet others on the next
    distributed._DEFAULT_FIRST_BUCKET_BYTES = ONE_BUCKET << 20
    net = DistributedDataParallel(net, gradient_as_bucket_view=True, bucket_cap_mb=ONE_BUCKET)
    rank = int(hook.rpartition("-")[2])
    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
    net.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return net


def main():
    """Exchange all gradients, round after round."""
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    rank, workers = options["rank"], options["size"]
    distributed.init_process_group("gloo", init_method=options["init"], rank=rank, world_size=workers)
    torch.manual_seed(rank)
    gradients = [torch.randn(shape).flatten() for shape in options["shapes"]]
    net = wrapped(Gradients(options["shapes"]), options["hook"])
    loss = None

    def forward():
        nonlocal loss
        loss = net(gradients)

    worker_timing.take(
        options["warm_up"], options["rounds"], distributed.barrier, lambda: loss.backward(), before=forward
    )


if __name__ == "__main__":
    main()
