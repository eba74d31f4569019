"""The single process that a cluster of workers must equal: MXNet's own Trainer, given the mean over all workers."""

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
import mxnet as mx
import numpy as np

from oracle_model import SETTINGS, Model, compression, momentum_inside, optimizer_options

NORMALIZING = ("adam", "rmsprop", "adagrad", "adadelta", "adamax", "nadam", "ftml", "lamb")
# relative to the distance that a parameter has moved; the second where the optimizer divides by the gradient's size:
# rounding may turn around an element that nearly cancels, in float16 any of them
TOLERANCES = {"float16": (1e-2, 2.0), "float32": (1e-4, 3e-3), "float64": (1e-9, 1e-9)}

COEFFICIENTS = (3e-7, 1e-5)  # at least, as MXNet's operators take rates, momentum and rescale_grad as float32


@mx.optimizer.register
class TrueNAG(mx.optimizer.Optimizer):
    """Nesterov momentum of the decayed gradient d = g + wd x: M <- mu (M + d); x <- x - lr (d + M).

    MXNet's NAG is equal to it at a constant rate, but keeps the rate of each step in its momentum.
    """

    def __init__(self, momentum, **options):
        super().__init__(**options)
        self.momentum = momentum
        self.aggregate_num = mx.optimizer.SGD().aggregate_num  # a scheduler sees the counts of that many at once

    def create_state(self, index, weight):
        return mx.nd.zeros(weight.shape, dtype="float64")

    def update_multi_precision(self, index, weight, grad, state):
        self._update_count(index)
        for one in zip(self._get_lrs(index), self._get_wds(index), weight, grad, state):
            self.apply(*one)

    def apply(self, rate, decay, weight, grad, state):
        """Update one parameter and its momentum."""
        x = weight.astype("float64")
        decayed = grad.astype("float64") * self.rescale_grad + decay * x
        state[:] = self.momentum * (state + decayed)
        weight[:] = (x - rate * (decayed + state)).astype(weight.dtype)


class Difference(AssertionError):
    """The cluster does not agree with itself or with the reference."""


class Reference(Model):
    """One process that computes the gradients of all workers and trains with their mean."""

    def __init__(self, spec, workers, folder):
        self.workers = workers
        self.moved = {}  # by name: the length of the path of a parameter
        self.inexact = False  # whether a coefficient was rounded that this process does not round
        self.drift = 0.0  # greatest relative difference of a gradient in the last step
        super().__init__(spec, 0, folder, "reference")

    def make_trainer(self, rate):
        options = optimizer_options(self.spec, rate)
        optimizer = "truenag" if momentum_inside(self.spec) else self.spec["optimizer"]
        return mx.gluon.Trainer(self.net.collect_params(), optimizer, options, kvstore=None)

    def build(self, rate):
        self.waiting = set()  # gradients that are fresh since a step that was skipped
        self.skipped = 0  # steps, of this trainer
        super().build(rate)

    def thaw(self, op):
        """Continue training a layer: its gradients are new arrays, which are not fresh."""
        super().thaw(op)
        self.waiting.difference_update(self.net[op["layer"]].collect_params())

    def contribution(self, op, worker):
        """Return the gradients of one worker, by name, of the parameters that it used."""
        for param in self.trained().values():
            param.data()._fresh_grad = False
        self.zero()
        self.backward(op, worker)
        used = self.trained((0, *op["heads"][worker]))
        return {name: param.grad().asnumpy().astype("float64") for name, param in used.items()}

    def train(self, op):
        """Hand the mean over all workers to MXNet's Trainer, as :meth:`contribution` returns it."""
        parts = [self.contribution(op, worker) for worker in range(self.workers)]
        self.drift = min(0.1, self.tolerance()) if self.moved else TOLERANCES[self.rounding()][0]
        self.inexact |= momentum_inside(self.spec) or not all(map(power_of_two, (self.workers, *op["sizes"])))
        if not op["split"]:
            parts = [{name: part[name] / size for name in part} for part, size in zip(parts, op["sizes"])]
        fresh = self.waiting.union(*parts)
        before = self.state()["parameters"]
        for name, param in self.trained().items():
            param.data()._fresh_grad = name in fresh
            if name in fresh:
                total = sum(part[name] for part in parts if name in part)
                param.grad()[:] = mx.nd.array(total / self.workers + np.zeros(param.shape), dtype=param.dtype)
        self.apply(op, op["sizes"][0] if op["split"] else 1)
        self.waiting = fresh if op["poison"] else set()
        self.skipped += bool(op["poison"])
        self.note_movement(before)

    def note_movement(self, before):
        """Add the length of a step to the paths of the parameters."""
        for name, param in self.params().items():
            step = np.linalg.norm(param.data().asnumpy() - before[name])
            self.moved[name] = self.moved.get(name, 0.0) + float(step)

    def exact(self):
        """Return whether the workers' parameters are known, but for rounding."""
        return SETTINGS[self.spec["setting"]][1] or self.spec["small"]

    def rounding(self):
        """Return the name of the coarsest type in which a gradient travels."""
        params = compression(self.spec) or {}
        if params.get("fp16") or (params.get("half") and not self.spec["small"]):
            return "float16"
        return self.spec["dtype"] if not params or self.spec["small"] else "float32"

    def tolerance(self):
        """Return the greatest difference of a parameter, relative to the distance that it has moved."""
        normalizing = self.spec["optimizer"] in NORMALIZING
        relative = TOLERANCES[self.rounding()][normalizing]
        return max(relative, COEFFICIENTS[normalizing]) if self.inexact else relative

    def check(self, states):
        """Raise :class:`Difference` unless the workers' states are those of this process."""
        mine = self.state()
        for rank, state in enumerate(states):
            same_bits(state["parameters"], states[0]["parameters"], f"worker {rank} differs from worker 0 in")
            self.check_bookkeeping(mine, state, f"worker {rank}")
        if not self.exact():
            finite(states[0]["parameters"])
            return
        allowed = {name: self.tolerance() * self.moved.get(name, 0.0) for name in mine["parameters"]}
        check_values(mine["parameters"], states[0]["parameters"], allowed)
        if not momentum_inside(self.spec):
            allowed = {name: self.drift * np.linalg.norm(value) for name, value in mine["gradients"].items()}
            check_values(mine["gradients"], states[0]["gradients"], allowed, "gradient of ")

    def check_bookkeeping(self, mine, state, who):
        """Compare learning rate, loss scale and skipped steps of a worker."""
        demand(state["rate"] == mine["rate"], f"{who} has learning rate {state['rate']}, not {mine['rate']}")
        demand(state["scale"] == mine["scale"], f"{who} has loss scales {state['scale']}, not {mine['scale']}")
        if compression(self.spec):
            skipped = f"{who} has skipped {state['skipped']} steps, not {self.skipped}"
            demand(state["skipped"] == self.skipped, skipped)


def power_of_two(number):
    """Return whether 1 / number is exact."""
    return not number & (number - 1)


def demand(holds, text):
    """Raise :class:`Difference` unless it holds."""
    if not holds:
        raise Difference(text)


def check_values(mine, theirs, allowed, what=""):
    """Compare arrays by name, each by the norm of the difference, unless MXNet's are not finite either.

    allowed: the greatest norm by name, to which the rounding of the values themselves is added.
    """
    demand(sorted(mine) == sorted(theirs), f"a worker has {what}{sorted(theirs)}, not {sorted(mine)}")
    for name, value in mine.items():
        if np.isfinite(value).all():
            distance = np.linalg.norm(theirs[name].astype("float64") - value)
            limit = allowed[name] + 4 * np.finfo(value.dtype).eps * np.linalg.norm(value)
            text = f"{what}{name} differs from one process by {distance:.3g}, more than {limit:.3g}"
            demand(distance <= limit, text)


def same_bits(one, other, text):
    """Raise :class:`Difference` unless two dicts of arrays are equal bit for bit."""
    demand(sorted(one) == sorted(other), f"{text} the parameters that have shapes: {sorted(one)}, {sorted(other)}")
    for name, value in one.items():
        demand(value.tobytes() == other[name].tobytes(), f"{text} {name}")


def finite(arrays):
    """Raise :class:`Difference` unless all elements of a dict of arrays are finite."""
    for name, value in arrays.items():
        demand(np.isfinite(value).all(), f"{name} is not finite")
