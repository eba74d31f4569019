"""A worker that exchanges gradients with PyTorch's DistributedDataParallel and a hook: ddp_worker.py '{...}'

For :mod:`byteps_gc.bench.peers`, in an environment that has PyTorch; it has this package only for its own hook.
"""

import json
import os
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
    """Return the module in DDP, with a hook of PyTorch: "", fp16, bf16, powersgd-RANK."""
    if not hook.startswith("powersgd"):
        net = DistributedDataParallel(net, gradient_as_bucket_view=True)
        if hook:  # in another function: DDP registers bf16's own for NCCL only, although gloo sums bfloat16
            compress = getattr(default_hooks, f"{hook}_compress_hook")
            net.register_comm_hook(None, lambda state, bucket: compress(state, bucket))
        return net
    # with gloo, the steps of several buckets would overtake each other on one worker and meet others on the next
    distributed._DEFAULT_FIRST_BUCKET_BYTES = ONE_BUCKET << 20
    net = DistributedDataParallel(net, gradient_as_bucket_view=True, bucket_cap_mb=ONE_BUCKET)
    rank = int(hook.rpartition("-")[2])
    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
    net.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return net


def with_our_hook(net, params):
    """Return the module in DDP, with this package's hook; params: of compression."""
    import byteps_gc.torch as bps

    bps.init()
    net = DistributedDataParallel(net, gradient_as_bucket_view=True)
    net.register_comm_hook(*bps.ddp_hook(net, **params))
    return net


def main():
    """Exchange all gradients, round after round."""
    options = json.loads(sys.argv[1])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    distributed.init_process_group("gloo")
    torch.manual_seed(distributed.get_rank())
    gradients = [torch.randn(shape).flatten() for shape in options["shapes"]]
    net = Gradients(options["shapes"])
    net = wrapped(net, options["hook"]) if "hook" in options else with_our_hook(net, options["params"])
    loss = None

    def forward():
        nonlocal loss
        loss = net(gradients)

    worker_timing.take(
        options["warm_up"], options["rounds"], distributed.barrier, lambda: loss.backward(), before=forward
    )


if __name__ == "__main__":
    main()
