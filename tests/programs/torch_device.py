"""A worker that compares gradients on a device with gradients in host memory: torch_device.py cuda|cpu ELEMENTS.

Host memory takes the place of the GPU's with "cpu": copies are made by a thread. Prints a line of JSON for each check:
what was checked, what is wrong with it, or null, and what was measured. ELEMENTS: parameters of the timed model.
"""

import json
import os
import statistics
import sys
import threading
import time

import byteps_gc.torch as bps
from byteps_gc.torch import lanes, local
from byteps_gc.torch.completion import completions
import torch
from torch import nn
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

SHAPES = ((1,), (7,), (100, 31), (257, 513), (1 << 20,))
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
EF = {"ef": "vanilla"}
COMPRESSED = (
    {},
    {"fp16": True},
    {"compressor": "onebit", "scaling": True, **EF},
    {"compressor": "topk", "k": 0.01, **EF},
    {"compressor": "int8", **EF},
)
LAYERS, STEPS = 6, 12


class Linear(nn.Module):
    """A loss whose gradients are given."""

    def __init__(self):
        super().__init__()
        self.each = nn.ParameterList(torch.zeros(shape) for shape in SHAPES)

    def forward(self, factors):
        return sum((parameter * one).sum() for parameter, one in zip(self.each, factors))


def show(what, wrong=None, **measured):
    os.write(1, f"{json.dumps({'what': what, 'wrong': wrong, 'rank': bps.rank(), **measured})}\n".encode())


def sums(device):
    """Sums of tensors, by push_pull."""
    generator = torch.Generator().manual_seed(bps.rank())
    for dtype in DTYPES:
        tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
        ours = [bps.push_pull_async(one.to(device)) for one in tensors]
        theirs = [bps.push_pull(one) for one in tensors]
        same = all(torch.equal(bps.synchronize(one).cpu(), other) for one, other in zip(ours, theirs))
        show(f"push_pull {dtype}", None if same else "sums differ from those of host memory")


def weights(device, params, kind, local_reduce):
    """Return weights after some steps. Gradients are given, so all devices have the same."""
    model = Linear().to(device)
    optimizer, net = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), model
    if kind == "hook":
        net = DistributedDataParallel(model)
        net.register_comm_hook(*bps.ddp_hook(net, optimizer, local_reduce=local_reduce, **params))
    else:
        optimizer = bps.DistributedOptimizer(optimizer, model.named_parameters(), params, local_reduce=local_reduce)
    generator = torch.Generator().manual_seed(10 + bps.rank())
    for _ in range(4):
        factors = [torch.randn(shape, generator=generator).to(device) for shape in SHAPES]
        optimizer.zero_grad()
        net(factors).backward()
        optimizer.step()
    return [one.detach().cpu() for one in model.parameters()]


def models(device, host_streams):
    """Weights of small models, with the hook and with DistributedOptimizer."""
    for params in COMPRESSED:
        stream_for, lanes.stream_for = lanes.stream_for, lambda device: None
        wanted = weights(torch.device("cpu"), params, "optimizer", False)
        lanes.stream_for = stream_for
        for kind in ("hook", "optimizer"):
            found = weights(device, params, kind, False)
            same = all(torch.equal(*both) for both in zip(found, wanted))
            show(f"{kind} {json.dumps(params)}", None if same else "weights differ from those of host memory")
    if (host_streams and local.GLOO_REDUCES) or torch.cuda.device_count() >= bps.size():
        wanted = weights(device, {}, "hook", False)
        close = all(torch.allclose(*both) for both in zip(weights(device, {}, "hook", True), wanted))
        show("hook, local_reduce", None if close else "weights differ from those without local_reduce")


def net_of(elements, device):
    width = max(8, int((elements / LAYERS) ** 0.5))
    torch.manual_seed(0)
    layers = [layer for _ in range(LAYERS) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(*layers).to(device), torch.randn(64, width, device=device)


def current_is_done(device):
    """Wait for what the current stream computes; copies have streams of their own."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def overlap(device, elements):
    """Exchanges begin while backward still computes."""
    model, x = net_of(elements, device)
    optimizer = bps.DistributedOptimizer(torch.optim.SGD(model.parameters(), 1e-3), local_reduce=False)
    begun, exchange, first = [], completions().exchange, threading.Event()

    def noted(*arguments):
        begun.append(time.perf_counter())
        first.set()
        exchange(*arguments)

    if device.type == "cpu":  # backward is so short that it has to wait for the other threads
        model[0].weight.register_hook(lambda gradient: first.wait(60) and None)

    completions().exchange = noted
    shares = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        begun.clear()
        first.clear()
        model(x).square().mean().backward()
        current_is_done(device)
        end = time.perf_counter()
        optimizer.step()
        shares.append(sum(one < end for one in begun) / len(begun))
    completions().exchange = exchange
    share = statistics.median(shares)
    wrong = None if share else "no exchange began before backward had ended"
    show("overlap", wrong, measured=f"{share:.0%} of the exchanges began before backward had ended")


def step_times(device, elements):
    """Steps of DDP, with and without the hook."""
    found = {}
    for name, params in {"DDP": None, "hook": {}, "hook, onebit": COMPRESSED[2]}.items():
        model, x = net_of(elements, device)
        net, optimizer = DistributedDataParallel(model), torch.optim.SGD(model.parameters(), 1e-3)
        if params is not None:
            net.register_comm_hook(*bps.ddp_hook(net, optimizer, local_reduce=False, **params))
        times = []
        for _ in range(STEPS):
            begin = time.perf_counter()
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
            current_is_done(device)
            times.append(time.perf_counter() - begin)
        found[name] = statistics.median(times[2:])
    text = ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in found.items())
    show("time of a step", measured=f"{text} (median of {STEPS - 2})")


def main():
    kind, elements = sys.argv[1], int(sys.argv[2])
    dist.init_process_group("gloo")  # NCCL accepts no two processes on one GPU
    bps.init()
    device = torch.device(kind)
    if kind == "cuda":
        device = torch.device("cuda", bps.local_rank() % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
        lanes.stream_for = lambda device: lanes.HostStream()
    sums(device)
    models(device, host_streams=kind == "cpu")
    overlap(device, elements)
    step_times(device, elements)
    bps.shutdown()
    dist.destroy_process_group()
    os._exit(0)  # the interpreter's end takes long on a busy machine


if __name__ == "__main__":
    main()
