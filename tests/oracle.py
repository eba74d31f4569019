"""Random training programs, run by a cluster and by one process of MXNet, and compared after every operation.

tests/test_oracle.py runs some of them, scripts/oracle.py as many as you like. A failure prints the program; it is
the same for one seed, number of programs and number of workers.
"""

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from conftest import commands_in
from oracle_cluster import Cluster
from oracle_model import HEADS, LAYERS, SETTINGS, momentum_inside
from oracle_reference import Reference

OPERATIONS = 8  # of a program, after which it takes one more step
MOST_WORKERS = 3  # drawn for each; a smaller cluster leaves the last ones out
# name: (learning rate, whether MXNet has it for float64, options)
DECAY = {"wd": st.sampled_from([0.0, 1e-2])}
LINEAR = {"momentum": st.sampled_from([0.9, 0.5]), **DECAY}
CLIPPED = {**LINEAR, "clip_gradient": st.sampled_from([0.05, 0.5])}
# MXNet's FTML is left out: it divides by the learning rate, and a rate or lr_mult of 0 is drawn
OPTIMIZERS = {
    "sgd": (0.05, True, st.one_of(*map(st.fixed_dictionaries, (LINEAR, DECAY, CLIPPED)))),
    "nag": (0.05, True, st.one_of(*map(st.fixed_dictionaries, (LINEAR, CLIPPED)))),
    "adam": (0.01, True, st.fixed_dictionaries(DECAY)),
    "rmsprop": (0.01, False, st.fixed_dictionaries({"centered": st.booleans(), **DECAY})),
    "adagrad": (0.02, False, st.fixed_dictionaries(DECAY)),
    "adadelta": (1.0, False, st.fixed_dictionaries({"rho": st.just(0.9), "epsilon": st.just(1e-4), **DECAY})),
    "adamax": (0.01, True, st.fixed_dictionaries(DECAY)),
    "nadam": (0.005, True, st.fixed_dictionaries(DECAY)),
    "lamb": (0.01, True, st.fixed_dictionaries(DECAY)),
}
FRAGILE = ("adamax",)  # divides 0 by 0 where a gradient has been 0 in all steps, as one in float16 may be
WARM_UP = {
    "warmup_steps": st.integers(0, 4),
    "warmup_begin_lr": st.just(0.0),
    "warmup_mode": st.sampled_from(["linear", "constant"]),
}
SCHEDULERS = {
    "FactorScheduler": {"step": st.integers(1, 3), "factor": st.sampled_from([0.5, 0.9]), **WARM_UP},
    "MultiFactorScheduler": {"step": st.sampled_from([[2], [1, 3], [3, 5]]), "factor": st.just(0.5), **WARM_UP},
    "PolyScheduler": {"max_update": st.integers(5, 9), "pwr": st.sampled_from([1, 2]), **WARM_UP},
}
SCHEDULER = st.one_of(
    *(st.tuples(st.just(kind), st.fixed_dictionaries(arguments)) for kind, arguments in SCHEDULERS.items())
)
SCALES = st.sampled_from([2.0**power for power in (0, 3, 10, 16)])
SIZE = st.integers(1, 5)


def of_each_worker(values):
    """Return a strategy for one value of each worker."""
    return st.tuples(*[values] * MOST_WORKERS)


SIZES = of_each_worker(SIZE)
USED = of_each_worker(st.sampled_from([(head,) for head in HEADS] + [HEADS]))
CHANGE = st.one_of(
    st.fixed_dictionaries({"do": st.just("set_decay"), "decay": st.sampled_from([0.0, 0.02])}),
    st.fixed_dictionaries(
        {
            "do": st.just("multiply"),
            "layer": st.sampled_from(LAYERS),
            "kind": st.sampled_from(["weight", "bias"]),
            "attribute": st.sampled_from(["lr_mult", "wd_mult"]),
            "value": st.sampled_from([0.0, 0.5, 2.0]),
        }
    ),
)
PASSES = st.integers(1, 2)


@st.composite
def specs(draw):
    """Draw what a program is made with: net, optimizer, compression."""
    spec = {"seed": draw(st.integers(0, 10**6)), "setting": draw(st.sampled_from(sorted(SETTINGS)))}
    spec["dtype"] = draw(st.sampled_from(["float32", "float32", "float64"]))
    spec["scale"] = draw(st.none() | SCALES)  # of the loss, by a scaler of AMP
    inside = momentum_inside(spec)
    names = [name for name, (_, double, _) in OPTIMIZERS.items() if double or spec["dtype"] == "float32"]
    if spec["scale"] or spec["setting"] not in ("none", "identity"):
        names = [name for name in names if name not in FRAGILE]
    spec["optimizer"] = "sgd" if inside else draw(st.sampled_from(names))
    spec["rate"], _, options = OPTIMIZERS[spec["optimizer"]]
    spec["options"] = draw(st.fixed_dictionaries(LINEAR) if inside else options)
    spec["scheduler"] = draw(st.none() | SCHEDULER)
    spec["rescale"] = draw(st.sampled_from([1.0, 1.0, 1 / 8, 1 / 1024]))
    spec["small"] = draw(st.booleans())
    spec["deferred"] = draw(st.booleans())
    spec["broadcast"] = draw(st.booleans()) and not spec["deferred"]
    spec["grad_req"] = draw(st.sampled_from(["write", "write", "add"]))
    # momentum inside needs one batch size for allreduce_grads() and update(): the size, or None for step()
    spec["size"] = draw(st.none() | SIZE) if inside else None
    return spec


def steps_allowed(machine):
    """Return whether the program may call step()."""
    return not machine.spec["size"]


def halves_allowed(machine):
    """Return whether the program may call allreduce_grads() and update()."""
    return machine.spec["size"] or not momentum_inside(machine.spec)


class Programs(RuleBasedStateMachine):
    """Programs for a cluster and a reference that equals it.

    cluster: an oracle_cluster.Cluster.
    reference: the class of the reference.
    """

    cluster = None
    reference = Reference
    run = 0  # programs

    def __init__(self):
        super().__init__()
        self.spec = self.model = None
        self.number = 0  # of training operations
        self.frozen, self.saved, self.whole = None, False, True

    @initialize(spec=specs())
    def begin(self, spec):
        type(self).run += 1
        self.spec, folder = spec, str(self.cluster.folder)
        self.model = self.reference(spec, self.cluster.workers, folder)
        self.execute({"do": "begin", "spec": spec, "folder": folder})

    def execute(self, op):
        """Execute an operation on both sides and compare."""
        self.whole = False
        self.cluster.send(op)
        self.model.do(op)
        self.model.check(self.cluster.answers(op))
        self.whole = True

    def train(self, sizes, heads=(HEADS,) * MOST_WORKERS, passes=1, **given):
        """Compute gradients and update."""
        self.number += 1
        workers = self.cluster.workers
        if self.spec["dtype"] == "float64":  # MXNet's operators take 1 / size as float32: let it be exact
            sizes = tuple(2 ** (size // 2) for size in sizes)
        if not self.model.complete():  # MXNet updates nothing before all shapes are known: the last worker uses all
            heads = heads[: workers - 1] + (HEADS,)
        op = {"do": "train", "number": self.number, "sizes": sizes[:workers], "heads": heads[:workers]}
        op["passes"] = passes if self.spec["grad_req"] == "add" else 1
        self.execute({**op, "stale": False, "split": False, "clip": None, "poison": None, **given})

    def train_split(self, size, clip=None, **given):
        """Compute gradients, allreduce_grads(), clip and update()."""
        if momentum_inside(self.spec) or self.spec["dtype"] == "float64":  # MXNet clips the norm of float32 only
            clip = None
        self.train((self.spec["size"] or size,) * MOST_WORKERS, split=True, clip=clip, **given)

    @precondition(steps_allowed)
    @rule(sizes=SIZES, passes=PASSES)
    def step(self, sizes, passes):
        self.train(sizes, passes=passes)

    @precondition(steps_allowed)
    @rule(sizes=SIZES, heads=USED, passes=PASSES)
    def step_of_some_heads(self, sizes, heads, passes):
        self.train(sizes, heads, passes, stale=True)

    @precondition(halves_allowed)
    @rule(size=SIZE, clip=st.sampled_from([None, 0.1, 1.0]), passes=PASSES)
    def allreduce_and_update(self, size, clip, passes):
        self.train_split(size, clip, passes=passes)

    @precondition(halves_allowed)
    @rule(size=SIZE, clip=st.sampled_from([None, 0.1, 1.0]), heads=USED, passes=PASSES)
    def allreduce_and_update_some_heads(self, size, clip, heads, passes):
        self.train_split(size, clip, heads=heads, passes=passes, stale=True)

    @precondition(lambda self: self.spec["scale"])
    @rule(
        size=SIZE,
        heads=USED,
        worker=st.integers(0, MOST_WORKERS - 1),
        layer=st.integers(0, 2),
        value=st.sampled_from(["inf", "-inf", "nan"]),
        split=st.booleans(),
    )
    def overflow(self, size, heads, worker, layer, value, split):
        poison = {"worker": worker % self.cluster.workers, "layer": layer, "value": value}
        given = {"heads": heads, "stale": True, "poison": poison}
        if halves_allowed(self) and (split or self.spec["size"]):
            self.train_split(size, **given)
        else:
            self.train((size,) * MOST_WORKERS, **given)

    @rule(layer=st.sampled_from(LAYERS))
    def freeze_or_thaw(self, layer):
        if self.frozen is None:
            self.frozen = layer
            self.execute({"do": "freeze", "layer": layer})
        else:
            self.execute({"do": "thaw", "layer": self.frozen})
            self.frozen = None

    @precondition(lambda self: not self.spec["scheduler"])
    @rule(factor=st.sampled_from([0.0, 0.5, 1.0]))
    def set_learning_rate(self, factor):
        self.execute({"do": "set_rate", "rate": factor * self.spec["rate"]})

    @rule(change=CHANGE)
    def change(self, change):
        self.execute(change)

    @precondition(lambda self: self.spec["scale"])
    @rule(scale=SCALES)
    def set_loss_scale(self, scale):
        self.execute({"do": "set_scale", "scale": scale})

    def may_save(self):
        """Return whether parameters and states can be saved: compressors' own state is not in the file."""
        inside = momentum_inside(self.spec) and not self.spec["small"]
        return not inside and self.model.complete()

    @precondition(may_save)
    @rule()
    def save(self):
        self.saved = True
        self.execute({"do": "save"})

    @precondition(lambda self: self.saved)
    @rule(factor=st.sampled_from([None, 0.5]))
    def load(self, factor):
        """Load into the same trainer, or with a factor into a new one with another learning rate."""
        self.frozen = self.frozen if factor is None else None
        self.execute({"do": "load", "rate": factor and factor * self.spec["rate"]})

    def teardown(self):
        """Take one more step, so that the last change is seen."""
        if not self.spec or not self.whole:
            return
        size = self.spec["size"] or 2
        self.train((size,) * MOST_WORKERS, split=bool(self.spec["size"]), stale=True)


def machine(cluster, reference=Reference):
    """Return the class of programs for a cluster.

    The lines that a failure prints run with it, to look at a program again: ``Programs = machine(cluster)``.
    """
    return type("Programs", (Programs,), {"cluster": cluster, "reference": reference})


def run_programs(cluster, count, number):
    """Run ``count`` programs from seed ``number``; return how many have run. Raises where one differs."""
    programs = seed(number)(machine(cluster))
    limits = settings(
        max_examples=count,
        stateful_step_count=OPERATIONS + 1,  # and begin()
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(programs, settings=limits)
    return programs.run


@contextlib.contextmanager
def cluster_in(folder, workers):
    """Give a cluster whose files are in a folder; end it with the block."""
    with commands_in(Path(folder)) as commands:
        cluster = Cluster(commands, workers)
        try:
            yield cluster
        finally:
            cluster.stop()
