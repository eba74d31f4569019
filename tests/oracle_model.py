"""The net, the data and the operations of a random training program: the same on a worker and in the reference.

A program is a ``spec`` (a dict that :func:`oracle.specs` draws) and a list of operations (dicts whose "do" names a
method of :class:`Model`). This module imports neither byteps_gc.mxnet nor hypothesis.
"""

import zlib

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
import mxnet as mx
from mxnet import autograd
from mxnet.contrib import amp
from mxnet.contrib.amp.loss_scaler import LossScaler
import numpy as np

INPUTS = 50
HEADS = (1, 2)
LAYERS = (0, *HEADS)
EVERYTHING = 10**6  # k of topk and randomk: more elements than any tensor has
WRAPPED = {"ef": "vanilla", "momentum": "nesterov"}
# name: (compression parameters, whether compressed values arrive as they were but for rounding)
SETTINGS = {
    "none": (None, True),
    "fp16": ({"fp16": True}, True),
    "identity": ({"compressor": "identity"}, True),
    "identity half": ({"compressor": "identity", "half": True}, True),
    "identity momentum": ({"compressor": "identity", "momentum": "nesterov"}, True),
    "identity half momentum": ({"compressor": "identity", "half": True, "momentum": "nesterov"}, True),
    "topk all": ({"compressor": "topk", "k": EVERYTHING, **WRAPPED}, True),
    "randomk all": ({"compressor": "randomk", "k": EVERYTHING, **WRAPPED}, True),
    "onebit": ({"compressor": "onebit", "scaling": True, **WRAPPED}, False),
    "topk": ({"compressor": "topk", "k": 0.1, **WRAPPED}, False),
    "dithering": ({"compressor": "dithering", "k": 4}, False),
    "randomk": ({"compressor": "randomk", "k": 0.2, **WRAPPED}, False),
}


def compression(spec):
    """Return the program's compression parameters; None without compression."""
    return SETTINGS[spec["setting"]][0]


def momentum_inside(spec):
    """Return whether the compressor applies the momentum."""
    return "momentum" in (compression(spec) or {})


def units(spec):
    """Return the width of the trunk and of both heads.

    With BYTEPS_MIN_COMPRESS_BYTES=2000 the weights of the trunk (in two partitions of 4096 bytes) and of head 1 are
    compressed, or nothing is.
    """
    return (8, 8, 3) if spec["small"] else (24, 24, 3)


class Drawn(mx.init.Initializer):
    """Initial values that depend on the parameter's name, a seed and a rank, not on the order of initialization."""

    def __init__(self, seed, rank):
        super().__init__(seed=seed, rank=rank)
        self.seed, self.rank = seed, rank

    def _init_weight(self, name, arr):
        random = np.random.RandomState([self.seed, self.rank, zlib.crc32(name.encode())])
        arr[:] = random.randn(*arr.shape) / np.sqrt(arr.shape[-1])

    _init_bias = _init_weight


def make_net(spec, rank):
    """Return a net of one trunk and two heads; its values differ between ranks if they will be broadcast."""
    trunk, *heads = units(spec)
    known = not spec["deferred"]
    net = mx.gluon.nn.HybridSequential(prefix="net_")
    shared = {"dtype": spec["dtype"], "bias_initializer": None}
    with net.name_scope():
        net.add(mx.gluon.nn.Dense(trunk, in_units=INPUTS if known else 0, activation="tanh", **shared))
        for width in heads:
            net.add(mx.gluon.nn.Dense(width, in_units=trunk if known else 0, **shared))
    net.initialize(Drawn(spec["seed"], rank if spec["broadcast"] else 0))
    net.collect_params().setattr("grad_req", spec["grad_req"])
    return net


def optimizer_options(spec, rate):
    """Return optimizer_params of the program, with a new scheduler if it has one."""
    options = dict(spec["options"], learning_rate=rate, rescale_grad=spec["rescale"])
    if spec["scheduler"]:
        kind, arguments = spec["scheduler"]
        options["lr_scheduler"] = getattr(mx.lr_scheduler, kind)(base_lr=rate, **arguments)
    return options


def batch(spec, op, worker, turn):
    """Return the inputs and each head's targets of a worker's backward pass: a function of the program's seed."""
    random = np.random.RandomState([spec["seed"], op["number"], worker, turn])
    size = op["sizes"][worker]
    arrays = [random.randn(size, width) for width in (INPUTS, *units(spec)[1:])]
    inputs, *targets = (mx.nd.array(array, dtype=spec["dtype"]) for array in arrays)
    return inputs, dict(zip(HEADS, targets))


def loss_of(net, inputs, targets, heads):
    """Return the squared error of each sample, summed over the heads that are used."""
    hidden = net[0](inputs)
    return sum(((net[head](hidden) - targets[head]) ** 2).mean(axis=1) for head in heads)


class Model:
    """A net and its trainer, and the operations on them.

    A subclass defines ``make_trainer(rate)`` and ``train(op)``.

    name: of the files that this model saves.
    """

    def __init__(self, spec, rank, folder, name):
        self.spec, self.rank, self.folder, self.name = spec, rank, folder, name
        self.gradients = {}  # after allreduce_grads() in the last operation
        self.build(spec["rate"])

    def build(self, rate):
        """Make a new net and a new trainer."""
        self.net = make_net(self.spec, self.rank)
        self.all = dict(sorted(self.net.collect_params().items()))
        self.layer = {name: layer for layer in LAYERS for name in self.net[layer].collect_params()}
        self.trainer = self.make_trainer(rate)
        if self.spec["scale"]:
            self.trainer._amp_loss_scaler = LossScaler()
            self.trainer._amp_original_scale = self.trainer._scale
            self.set_scale({"scale": self.spec["scale"]})

    def make_trainer(self, rate):
        """Return a trainer of the net."""
        raise NotImplementedError

    def params(self):
        """Return the parameters whose shapes are known, by name."""
        return {name: param for name, param in self.all.items() if np.prod(param.shape) > 0}

    def complete(self):
        """Return whether all shapes are known."""
        return len(self.params()) == len(self.all)

    def trained(self, layers=LAYERS):
        """Return the parameters of some layers that have gradients, by name."""
        found = self.params()
        return {n: param for n, param in found.items() if self.layer[n] in layers and param.grad_req != "null"}

    def state(self):
        """Return what is compared after every operation."""
        scaler = getattr(self.trainer, "_amp_loss_scaler", None)
        return {
            "parameters": {name: param.data().asnumpy() for name, param in self.params().items()},
            "gradients": self.gradients,
            "rate": float(self.trainer.learning_rate),
            "scale": (scaler._loss_scale, scaler._next_loss_scale) if scaler else None,
        }

    def do(self, op):
        """Execute an operation and return the state after it."""
        self.gradients = {}
        getattr(self, op["do"])(op)
        return self.state()

    def begin(self, op):
        """Do nothing: the model is new."""

    def backward(self, op, worker):
        """Compute the gradients of a worker in one operation, in as many passes as it has."""
        for turn in range(op["passes"]):
            inputs, targets = batch(self.spec, op, worker, turn)
            with autograd.record():
                loss = loss_of(self.net, inputs, targets, op["heads"][worker]) / self.spec["rescale"]
                if not self.spec["scale"]:
                    loss.backward()
                    continue
                with amp.scale_loss(loss, self.trainer) as scaled:
                    scaled.backward()
        self.poison(op, worker)

    def poison(self, op, worker):
        """Let a gradient of one worker overflow, where the operation says so."""
        if op["poison"] and op["poison"]["worker"] == worker:
            layers = (0, *op["heads"][worker])
            params = self.trained(layers[op["poison"]["layer"] % len(layers) :]) or self.trained(layers)
            next(iter(params.values())).grad()[:1] = float(op["poison"]["value"])

    def apply(self, op, size):
        """Exchange and update, by step() or by allreduce_grads() and update(); ``size`` divides."""
        if op["split"]:
            self.trainer.allreduce_grads()
            used = self.trained({0}.union(*op["heads"]))
            self.gradients = {name: param.grad().asnumpy() for name, param in used.items()}
            if op["clip"]:
                limit = op["clip"] * size * (self.spec["scale"] or 1) / self.spec["rescale"]
                mx.gluon.utils.clip_global_norm([param.grad() for param in used.values()], limit)
            self.trainer.update(size, op["stale"])
        else:
            self.trainer.step(size, op["stale"])
        if self.spec["grad_req"] == "add" or op["poison"]:
            self.zero()

    def zero(self):
        """Set all gradients to zero."""
        for param in self.trained().values():
            param.zero_grad()

    def freeze(self, op):
        """Stop training a layer."""
        self.net[op["layer"]].collect_params().setattr("grad_req", "null")

    def thaw(self, op):
        """Continue training a layer that was frozen."""
        self.net[op["layer"]].collect_params().setattr("grad_req", self.spec["grad_req"])

    def set_rate(self, op):
        """Set the learning rate."""
        self.trainer.set_learning_rate(op["rate"])

    def set_decay(self, op):
        """Set the weight decay."""
        self.trainer.optimizer.wd = op["decay"]

    def multiply(self, op):
        """Set lr_mult or wd_mult of a layer's weight or bias."""
        setattr(getattr(self.net[op["layer"]], op["kind"]), op["attribute"], op["value"])

    def set_scale(self, op):
        """Set the loss scale."""
        scaler = self.trainer._amp_loss_scaler
        scaler._loss_scale = scaler._next_loss_scale = op["scale"]

    def save(self, op):
        """Save the parameters and the trainer's states."""
        self.net.save_parameters(f"{self.folder}/{self.name}.params")
        self.trainer.save_states(f"{self.folder}/{self.name}.states")

    def load(self, op):
        """Load what the first worker saved, into this trainer or, with a rate, into a new net and trainer."""
        if op["rate"]:
            self.build(op["rate"])
        name = self.source()
        self.net.load_parameters(f"{self.folder}/{name}.params")
        self.trainer.load_states(f"{self.folder}/{name}.states")

    def source(self):
        """Return the name of the files to load."""
        return self.name
