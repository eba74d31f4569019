"""Benchmark the engine against stock BytePS: an idle cluster, a training step, an exchange, a server's CPU time."""

import argparse
import contextlib
import json
import math
import os
from pathlib import Path
import tempfile
from typing import Callable, Iterator, List, Optional, Tuple

from byteps_gc import native
from byteps_gc.bench import model_gradients, tables
from byteps_gc.bench.engine import summary
from byteps_gc.bench.engine.clusters import EXPERIMENTS, KEYS, Plan, Side, batch_of_a_step, step_alone
from byteps_gc.bench.engine.summary import ALONE, OURS, RELEASED, Found
from byteps_gc.bench.stock import engine
from byteps_gc.cluster.namespaces import NamespaceHosts
from byteps_gc.errors import ClusterError, SettingsError, UserError
from byteps_gc.processes import exit_on_sigterm
from byteps_gc.report import machine
from rich.console import Console

CORES = 2
MODEL = model_gradients.MODELS["resnet18_v2"]
SERVER_NOTE = "stock, server: the stock server runs byteps_gc's compressors and adds an array of zeros for each push"


def choose(names: List[str]) -> List[str]:
    """The experiments that are named, by themselves or by a key of theirs; all for none. :class:`UserError`."""
    unknown = [name for name in names if name not in EXPERIMENTS and name not in KEYS]
    if unknown:
        raise UserError(f"unknown measurement {', '.join(unknown)}; known: {', '.join([*EXPERIMENTS, *KEYS])}")
    return [name for name, (_, keys) in EXPERIMENTS.items() if not names or {name, *keys} & set(names)]


def check(options: argparse.Namespace) -> None:
    """:class:`UserError` for a flag that cannot be."""
    for name in ("rounds", "steps", "exchange_rounds", "servers_per_host"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    if not 0.1 <= options.idle_seconds <= 300:
        raise UserError("--idle-seconds must be between 0.1 and 300")
    tables.require_writable("--json", options.json)


def hosts_refused() -> Optional[str]:
    """Why this machine makes no hosts; None if it does."""
    try:
        with NamespaceHosts(1):
            return None
    except (SettingsError, ClusterError) as error:
        return str(error)


@contextlib.contextmanager
def few_cores() -> Iterator[List[int]]:
    """Limit processes that start within the context to CORES processors; yield their numbers."""
    before = os.sched_getaffinity(0)
    cores = sorted(before)[:CORES]
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)


class Bench:
    """One run: the chosen experiments of all sides, in turn, round after round."""

    def __init__(self, chosen: List[str], sides: List[Side], plan: Plan, notes: List[str]):
        self.chosen, self.sides, self.plan, self.notes = chosen, sides, plan, notes
        self.found: Found = {ALONE: [], OURS: [], RELEASED: []}
        self._failed: List[Tuple[str, str]] = []

    def round(self, progress: Callable[[str], None]) -> None:
        """Measure everything once."""
        for rounds in self.found.values():
            rounds.append({})
        for experiment in self.chosen:
            if experiment == "step":
                progress("step: one process")
                step_alone(self.plan, self.found[ALONE][-1])
            for side in self.sides:
                progress(f"{experiment}: {side.name}")
                self.measure(experiment, side)

    def measure(self, experiment: str, side: Side) -> None:
        """One experiment; where stock BytePS fails, that is noted, and not tried again."""
        if (experiment, side.name) in self._failed:
            return
        try:
            EXPERIMENTS[experiment][0](side, self.plan, self.found[side.name][-1])
        except ClusterError as error:
            if side.name == OURS:
                raise
            self._failed.append((experiment, side.name))
            self.notes.append(f"{side.name}, {experiment}: {str(error).splitlines()[0]}")


def prepare(options: argparse.Namespace, chosen: List[str], folder: Path, status: Callable[[str], None]) -> Bench:
    """Build what is to be measured and see what this machine can do."""
    notes, sides = [], [Side(OURS)]
    native.library()
    if not options.no_stock:
        status("stock BytePS")
        sides.append(Side(RELEASED, engine.unpack(folder / "released", status)))
        notes += [SERVER_NOTE] if "server" in chosen else []
    refused = hosts_refused() if "exchange" in chosen else None
    if refused:
        notes.append(f"the exchange ran on loopback: {refused}")
    plan = Plan(
        logs=folder / "logs",
        steps=options.steps,
        rounds=options.exchange_rounds,
        idle_seconds=options.idle_seconds,
        servers_per_host=options.servers_per_host,
        batch=batch_of_a_step(folder / "logs", options.steps, options.static) if "step" in chosen else 0,
        static=options.static,
        sizes=[*map(math.prod, model_gradients.of(MODEL))] if {"exchange", "server"} & set(chosen) else (),
        on_hosts="exchange" in chosen and not refused,
    )
    return Bench(chosen, sides, plan, notes)


def main(options: argparse.Namespace) -> int:
    """Measure, print the table and write the file."""
    chosen = choose(options.only)
    check(options)
    exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="byteps_gc-") as folder, Console(stderr=True).status("") as status:
        with few_cores() as cores:
            bench = prepare(options, chosen, Path(folder), status.update)
            about = {**machine.about(cores), "engines": {side.name: side.version() for side in bench.sides}}
            for number in range(1, options.rounds + 1):
                bench.round(lambda text, number=number: status.update(f"round {number} of {options.rounds}: {text}"))
    result = summary.summary(bench.found)
    summary.show(result["raw"], bench.notes)
    if options.json:
        names = ("rounds", "steps", "exchange_rounds", "idle_seconds", "servers_per_host", "static")
        about["options"] = {**{name: getattr(options, name) for name in names}, "experiments": chosen}
        about["batch"] = bench.plan.batch
        about["hosts"] = None if "exchange" not in chosen else "namespaces" if bench.plan.on_hosts else "loopback"
        options.json.write_text(json.dumps({**about, "notes": bench.notes, **result}, indent=2) + "\n")
    return 0
