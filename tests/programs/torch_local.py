"""A worker whose host reduces gradients first: torch_local.py CASE...

Four workers stand for two hosts of two processes each. Each case is trained with DistributedDataParallel on gloo
("ddp"), with the communication hook ("hook") and with DistributedOptimizer ("optimizer"), the last two with
local_reduce=True. Gradients are small integers, so their means are exact in any order of summation. Prints "FOUND CASE
KIND DIGEST".
"""

import contextlib
import os
import random
import sys
import time
import warnings

from byteps_gc.core import session
from byteps_gc.errors import UserError
import byteps_gc.torch as bps
from byteps_gc.torch import lanes
import torch
from torch import nn
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch_oracle import digest

STEPS = 4
SHAPES = {"matrix": (64, 33), "vector": (7,), "scalar": (1,), "kernel": (4, 3, 5, 5), "often": (301,), "never": (9,)}
EF = {"compressor": "onebit", "scaling": True, "ef": "vanilla"}
IDENTITY = {"compressor": "identity"}


class UnevenStream(lanes.HostStream):
    """A stream that takes another time for each operation, on each rank."""

    times = random.Random(0)
    followed = True  # after what the current stream had computed

    def follow(self):
        self.followed = True

    def do(self, work, uses=()):
        def later():
            time.sleep(self.times.random() / 300)
            work()

        assert self.followed
        return super().do(later, uses)


class Exact(nn.Module):
    """A loss that is linear in the parameters; its coefficients, the gradients, are integers."""

    def __init__(self):
        super().__init__()
        for name, shape in SHAPES.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, seed):
        generator, total = torch.Generator().manual_seed(100 * seed + bps.rank()), torch.zeros(())
        for name, parameter in self.named_parameters():
            factors = torch.randint(-9, 10, parameter.shape, generator=generator)
            if name == "never" or (name == "often" and bps.rank() == seed % 4):
                continue
            total = total + (parameter * factors.to(parameter.dtype)).sum()
        return total


class Training:
    def __init__(self, kind, params=None, prepare=None, scaler=None, passes=1, **ddp):
        self.kind, self.scaler, self.model = kind, scaler, Exact()
        if prepare:
            prepare(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.5, momentum=0.5)
        self.net = self.model
        if kind == "optimizer":
            named = self.model.named_parameters()
            self.optimizer = bps.DistributedOptimizer(self.optimizer, named, params, passes, scaler, local_reduce=True)
            return
        self.net = DistributedDataParallel(self.model, find_unused_parameters=True, bucket_cap_mb=0.005, **ddp)
        if kind == "hook":
            hook = bps.ddp_hook(self.net, self.optimizer, grad_scaler=scaler, local_reduce=True, **(params or {}))
            self.net.register_comm_hook(*hook)

    def backward(self, seed, factor=1.0):
        loss = self.net(seed) * factor
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, seed, factor=1.0):
        self.optimizer.zero_grad()
        self.backward(seed, factor)
        self.optimizer.step()

    def weights(self):
        return list(self.model.state_dict().values())

    def run(self, steps=STEPS):
        for seed in range(steps):
            self.step(seed)
        return self.weights()


def plain(kind):
    return Training(kind).run()


def views(kind):
    return Training(kind, gradient_as_bucket_view=True).run()


def uneven(kind):
    training = Training(kind)
    with training.net.join():
        return training.run(STEPS + bps.rank())


def accumulate(kind):
    training = Training(kind, passes=2)
    for seed in range(STEPS):
        for part in range(2):
            with training.net.no_sync() if kind != "optimizer" and not part else contextlib.nullcontext():
                training.backward(2 * seed + part)
        training.optimizer.step()
        training.optimizer.zero_grad()
    return training.weights()


def low_precision(kind):
    return Training(kind, prepare=lambda model: model.to(torch.bfloat16)).run()


def float64(kind):
    return Training(kind, prepare=lambda model: model.to(torch.float64)).run()


def transposed(kind):
    def prepare(model):
        model.matrix.data = torch.zeros(33, 64).t()
        model.kernel.data = model.kernel.data.contiguous(memory_format=torch.channels_last)

    return Training(kind, prepare=prepare).run()


def scaled(kind, params=None):
    """With a GradScaler; in one step worker 3 has an infinite loss, and all skip it."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    training = Training(kind, params=params, scaler=scaler)
    for seed in range(2 * STEPS):
        training.optimizer.zero_grad()
        training.backward(seed, float("inf") if (seed, bps.rank()) == (3, 3) else 1.0)
        if kind == "optimizer":
            training.optimizer.synchronize()
        scaler.unscale_(training.optimizer)
        scaler.step(training.optimizer)
        scaler.update()
    return training.weights()


def identity(kind):
    return Training(kind, IDENTITY if kind != "ddp" else None).run()


def identity64(kind):
    return Training(kind, IDENTITY if kind != "ddp" else None, prepare=lambda model: model.to(torch.float64)).run()


def onebit(kind):
    return Training(kind, EF).run()


def onebit_poisoned(kind):
    training = Training(kind, EF)
    for seed in range(STEPS):
        if seed == 2:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                training.step(seed, float("nan") if bps.rank() == 2 else 1.0)
        training.step(seed)
    skipped = training.optimizer.skipped_steps if kind == "optimizer" else 1
    assert skipped == 1
    return training.weights()


def onebit_scaled(kind):
    return scaled(kind, EF)


def sent_bytes(local_reduce):
    """Return the bytes that all workers send in one step, without compression."""
    parameter = nn.Parameter(torch.zeros(1 << 18))
    optimizer = bps.DistributedOptimizer(torch.optim.SGD([parameter], 1.0), local_reduce=local_reduce)
    before = session.sent_bytes()
    parameter.sum().backward()
    optimizer.step()
    assert (parameter == -1).all()
    return bps.push_pull(torch.tensor([float(session.sent_bytes() - before)]), average=False).item()


def handles():
    """push_pull by a stream of its own; the results are divided and copied back in order."""
    lanes.stream_for = lambda device: UnevenStream()
    tensors = [torch.full((50,), bps.rank() + float(number)) for number in range(20)]
    under_way = [bps.push_pull_async_inplace(one) for one in tensors]
    for number, (handle, tensor) in enumerate(zip(under_way, tensors)):
        assert bps.synchronize(handle) is handle.wait() and (tensor == number + 1.5).all() and bps.poll(handle)
    os.write(1, b"HANDLES equal\n")


def mistakes():
    """Processes that are not the same on all hosts."""
    for local_reduce in (True, bps.rank() > 0):
        if bps.rank() == 0:
            os.environ["LOCAL_WORLD_SIZE"] = "3"
        parameter = nn.Parameter(torch.zeros(3))
        try:
            bps.DistributedOptimizer(torch.optim.SGD([parameter], 1.0), local_reduce=local_reduce)
        except UserError as error:
            os.write(1, f"MISTAKE {error}\n".encode())


def main():
    rank = int(os.environ["RANK"])
    os.environ.update(LOCAL_RANK=str(rank % 2), LOCAL_WORLD_SIZE="2")
    UnevenStream.times.seed(rank)
    lanes.HostStream = UnevenStream
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    bps.init()
    for name in sys.argv[1:]:
        for kind in ("ddp", "hook", "optimizer"):
            compressed = name.startswith("onebit") and kind == "ddp"
            if compressed or ((name, kind) in (("uneven", "optimizer"), ("views", "optimizer"))):
                continue
            os.write(1, f"FOUND {name} {kind} {digest(globals()[name](kind))}\n".encode())
    os.write(1, f"SENT {sent_bytes(True) / sent_bytes(False):.2f}\n".encode())
    handles()
    mistakes()
    bps.shutdown()
    dist.destroy_process_group()
    os._exit(0)  # the interpreter's end takes long on a busy machine


if __name__ == "__main__":
    main()
