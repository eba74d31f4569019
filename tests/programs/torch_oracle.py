"""A worker that trains small models in the same way several times: torch_oracle.py CASE...

Each case is trained with DistributedDataParallel on gloo ("ddp", the oracle), with the communication hook ("hook") and
with DistributedOptimizer ("optimizer"), as far as the case makes sense for each. Prints one line for each:
"FOUND CASE KIND DIGEST", with a digest of the final weights.
"""

import contextlib
import hashlib
import os
import sys
import time
import warnings

import byteps_gc.torch as bps
from byteps_gc.torch import lanes
import torch
from torch import nn
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

STEPS = 6
EF = {"compressor": "onebit", "scaling": True, "ef": "vanilla"}


class Net(nn.Module):
    """A small network with a convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.hidden = nn.Linear(8 * 36, 40)
        self.last = nn.Linear(40, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1)
        return self.last(torch.relu(self.hidden(x)))


class Unused(Net):
    """Layers that no worker uses, that worker 1 uses, and that are used in every second step."""

    def __init__(self):
        super().__init__()
        self.never = nn.Linear(5, 5)
        self.other = nn.Linear(10, 10)
        self.sometimes = nn.Sequential(nn.Linear(10, 30), nn.Linear(30, 10))
        self.calls = 0

    def forward(self, x):
        x = super().forward(x)
        self.calls += 1
        if bps.rank() == 1:
            x = x + self.other(x)
        return x + self.sometimes(x) if self.calls % 2 else x


class Shared(Net):
    """One weight in two layers."""

    def __init__(self):
        super().__init__()
        self.again = nn.Linear(40, 40)
        self.twice = nn.Linear(40, 40)
        self.twice.weight = self.again.weight

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1)
        x = torch.relu(self.again(torch.relu(self.hidden(x))))
        return self.last(torch.relu(self.twice(x)))


class Transposed(Net):
    """A weight whose gradient is not contiguous."""

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1)
        return self.last(torch.relu(x @ self.hidden.weight.t() + self.hidden.bias))


def batches(steps=STEPS, seed=0, dtype=torch.float32):
    """Yield this worker's batches."""
    generator = torch.Generator().manual_seed(100 * seed + bps.rank())
    for _ in range(steps):
        x = torch.randn(8, 3, 8, 8, generator=generator).to(dtype)
        yield x, torch.randint(10, (8,), generator=generator)


def loss_of(output, y):
    return nn.functional.cross_entropy(output.float(), y)


class Training:
    """A model and an optimizer, distributed in one of the three ways."""

    def __init__(self, kind, optimizer, model=Net, params=None, passes=1, scaler=None, prepare=None, **ddp):
        torch.manual_seed(0)
        self.kind, self.scaler = kind, scaler
        self.model = model()
        if prepare:
            prepare(self.model)
        self.optimizer = optimizer(self.model)
        self.net = self.model
        if kind != "optimizer":
            self.net = DistributedDataParallel(self.model, **ddp)
        if kind == "hook":
            state, hook = bps.ddp_hook(self.net, self.optimizer, grad_scaler=scaler, **(params or {}))
            self.net.register_comm_hook(state, hook)
        if kind == "optimizer":
            named = self.model.named_parameters()
            self.optimizer = bps.DistributedOptimizer(self.optimizer, named, params, passes, scaler)

    def synchronize(self):
        if self.kind == "optimizer":
            self.optimizer.synchronize()

    def backward(self, x, y):
        loss = loss_of(self.net(x), y)
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, x, y, set_to_none=True):
        self.optimizer.zero_grad(set_to_none=set_to_none)
        self.backward(x, y)
        self.optimizer.step()

    def run(self, data, **options):
        for x, y in data:
            self.step(x, y, **options)
        return self.weights()

    def weights(self):
        return list(self.model.state_dict().values())


def sgd(**options):
    return lambda model: torch.optim.SGD(model.parameters(), **{"lr": 0.05, **options})


def plain(kind, **options):
    return Training(kind, sgd(), **options).run(batches())


def momentum(kind):
    return Training(kind, sgd(momentum=0.9, weight_decay=1e-3)).run(batches())


def nesterov(kind):
    return Training(kind, sgd(momentum=0.9, nesterov=True)).run(batches())


def adamw(kind):
    return Training(kind, lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2)).run(batches())


def groups(kind, params=None):
    """Two groups with own rates, and a schedule."""

    def optimizer(model):
        first = {"params": list(model.conv.parameters()), "lr": 0.1}
        rest = [*model.hidden.parameters(), *model.last.parameters()]
        return torch.optim.SGD([first, {"params": rest}], lr=0.02, momentum=0.9)

    training = Training(kind, optimizer, params=params)
    schedule = torch.optim.lr_scheduler.StepLR(training.optimizer, 2, 0.5)
    for x, y in batches():
        training.step(x, y)
        schedule.step()
    return training.weights()


def accumulate(kind):
    training = Training(kind, sgd(momentum=0.9), passes=2)
    for number, (x, y) in enumerate(batches(2 * STEPS)):
        last = number % 2
        skips = kind != "optimizer" and not last
        with training.net.no_sync() if skips else contextlib.nullcontext():
            training.backward(x, y)
        if last:
            training.optimizer.step()
            training.optimizer.zero_grad()
    return training.weights()


def clipped(kind):
    training = Training(kind, sgd(lr=0.5))
    for x, y in batches():
        training.optimizer.zero_grad()
        training.backward(x, y)
        training.synchronize()
        nn.utils.clip_grad_norm_(training.model.parameters(), 0.1)
        if kind == "optimizer":
            with training.optimizer.skip_synchronize():
                training.optimizer.step()
        else:
            training.optimizer.step()
    return training.weights()


def unused(kind, **more):
    options = {} if kind == "optimizer" else {"find_unused_parameters": True}
    return Training(kind, sgd(momentum=0.9, weight_decay=0.1), Unused, **options, **more).run(batches())


def frozen(kind):
    def prepare(model):
        model.hidden.weight.requires_grad = False

    return plain(kind, prepare=prepare)


def shared(kind):
    return plain(kind, model=Shared)


def transposed(kind):
    return plain(kind, model=Transposed)


def channels_last(kind):
    def prepare(model):
        model.to(memory_format=torch.channels_last)

    training = Training(kind, sgd(momentum=0.9), prepare=prepare)
    return training.run((x.contiguous(memory_format=torch.channels_last), y) for x, y in batches())


def bucket_views(kind):
    """Gradients that are views of DDP's buckets, of which there are several."""
    return plain(kind, gradient_as_bucket_view=True, bucket_cap_mb=0.01)


def static_graph(kind):
    return plain(kind, static_graph=True)


def uneven(kind):
    training = Training(kind, sgd(momentum=0.9))
    with training.net.join():
        return training.run(batches(STEPS + 3 * bps.rank()))


def low_precision(kind, dtype):
    training = Training(kind, sgd(momentum=0.9), prepare=lambda model: model.to(dtype))
    return training.run(batches(dtype=dtype))


def bfloat16(kind):
    return low_precision(kind, torch.bfloat16)


def float16(kind):
    """The oracle sums as float32, because gloo loses what is too small for float16."""
    training = Training(kind, sgd(momentum=0.9), prepare=lambda model: model.to(torch.float16))
    if kind == "ddp":
        training.net.register_comm_hook(None, wide_hook)
    return training.run(batches(dtype=torch.float16))


def float64(kind):
    return low_precision(kind, torch.float64)


def autocast(kind):
    training = Training(kind, sgd(momentum=0.9))
    for x, y in batches():
        training.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(training.net(x), y)
        loss.backward()
        training.optimizer.step()
    return training.weights()


def scaled(kind, params=None, scales=True, poisoned=True, **options):
    """With a GradScaler whose scale changes; in one step the loss of worker 1 is infinite."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2, enabled=scales)
    training = Training(kind, sgd(momentum=0.9, **options), params=params, scaler=scaler)
    for number, (x, y) in enumerate(batches(2 * STEPS)):
        training.optimizer.zero_grad()
        if poisoned and number == 5 and bps.rank() == 1:
            x = x * float("inf")
        training.backward(x, y)
        training.synchronize()
        scaler.unscale_(training.optimizer)
        scaler.step(training.optimizer)
        scaler.update()
    return training.weights()


def kept_gradients(kind):
    return Training(kind, sgd(momentum=0.9)).run(batches(), set_to_none=False)


def compiled(kind):
    training = Training(kind, sgd(momentum=0.9))
    training.net = torch.compile(training.net, backend="aot_eager")
    return training.run(batches())


class Data(torch.utils.data.Dataset):
    """This worker's batches, one by one."""

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        return list(batches())[index]


def forked_loader(kind):
    loader = torch.utils.data.DataLoader(Data(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    return Training(kind, sgd()).run(loader)


def two_models(kind):
    """Two models that are trained in turns."""
    trainings = [Training(kind, sgd(lr=0.05 * (1 + number))) for number in range(2)]
    for x, y in batches():
        for training in trainings:
            training.step(x, y)
    return [weight for training in trainings for weight in training.weights()]


def closure(kind):
    training = Training(kind, sgd(momentum=0.9))
    for x, y in batches():

        def compute():
            training.optimizer.zero_grad()
            loss = loss_of(training.net(x), y)  # noqa: B023
            loss.backward()
            return loss

        assert training.optimizer.step(compute) > 0
    return training.weights()


def onebit(kind):
    return Training(kind, sgd(momentum=0.9), params=EF).run(batches())


def onebit_buckets(kind):
    """In several buckets, if there are any."""
    return Training(kind, sgd(momentum=0.9), params=EF, bucket_cap_mb=0.01).run(batches())


def onebit_unused(kind):
    """Error feedback stays where no worker uses a parameter."""
    return unused(kind, params=EF)


def onebit_moved(kind):
    """With momentum in front of the compressor, and weight decay."""
    params = {**EF, "momentum": "nesterov"}
    return Training(kind, sgd(momentum=0.9, nesterov=True, weight_decay=1e-2), params=params).run(batches())


def onebit_moved_scaled(kind):
    """The same with a GradScaler whose scale changes, as the next one without."""
    return scaled(kind, {**EF, "momentum": "nesterov"}, poisoned=False, nesterov=True)


def onebit_moved_unscaled(kind):
    return scaled(kind, {**EF, "momentum": "nesterov"}, scales=False, poisoned=False, nesterov=True)


def onebit_in_groups(kind):
    return groups(kind, EF)


def onebit_scaled(kind):
    """As the next one, with a GradScaler whose scale changes."""
    return scaled(kind, EF, poisoned=False)


def onebit_unscaled(kind):
    return scaled(kind, EF, scales=False, poisoned=False)


def onebit_poisoned(kind):
    """A step that is not finite, and is skipped, leaves no trace: as the next one."""
    training = Training(kind, sgd(momentum=0.9), params=EF)
    for number, (x, y) in enumerate(batches()):
        if number == 3:
            bad = x * float("inf") if bps.rank() else x
            training.step(bad, y)
        training.step(x, y)
    return training.weights()


def onebit_clean(kind):
    return onebit(kind)


class SlowStream(lanes.HostStream):
    """The stream of a GPU, with host memory instead of the GPU's: its work takes time."""

    def do(self, work, uses=()):
        def later():
            time.sleep(0.005)
            work()

        return super().do(later, uses)


def with_lane(kind, train):
    before, lanes.stream_for = lanes.stream_for, lambda device: SlowStream()
    try:
        return train(kind)
    finally:
        lanes.stream_for = before


def lane(kind):
    return with_lane(kind, momentum)


def onebit_lane(kind):
    return with_lane(kind, onebit)


def overlap(kind):
    """Exchanges are under way while backward continues."""
    training = Training(kind, sgd(momentum=0.9, weight_decay=1e-3), bucket_cap_mb=0.001)
    seen = []
    if kind == "optimizer":
        exchanger = training.optimizer._byteps_gc
        training.model.conv.bias.register_hook(lambda gradient: seen.append(exchanger.is_under_way()))
    weights = training.run(batches())
    assert kind != "optimizer" or (len(seen) == STEPS and all(seen))
    return weights


def wide_hook(state, bucket):
    """What gloo does, but in float32."""
    wide = bucket.buffer().float()
    future = dist.all_reduce(wide, async_op=True).get_future()
    return future.then(lambda done: bucket.buffer().copy_(done.value()[0] / dist.get_world_size()))


def digest(tensors):
    return hashlib.sha256(b"".join(one.float().numpy().tobytes() for one in tensors)).hexdigest()[:16]


def kinds_of(name):
    if name == "uneven":
        return ("ddp", "hook")
    return ("hook", "optimizer") if name.startswith("onebit") else ("ddp", "hook", "optimizer")


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    bps.init()
    for name in sys.argv[1:]:
        for kind in kinds_of(name):
            if kind == "optimizer" and name in ("bucket_views", "static_graph"):
                continue
            line = f"FOUND {name} {kind} {digest(globals()[name](kind))}\n"
            os.write(1, line.encode())  # at once: torchrun's workers share a pipe
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
