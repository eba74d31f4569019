"""Benchmark a training step with each compressor against the step without compression, in one run."""

import argparse
from dataclasses import dataclass
import json
from pathlib import Path
from statistics import median
import sys
import tempfile
from typing import Dict, List, Sequence

from byteps_gc.bench import tables
from byteps_gc.bench.training import CLASSES, PIXELS
from byteps_gc.cluster import supervisor
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm
from byteps_gc.training.models import classifier
from rich.console import Console

BASELINE = "baseline"
JOBS = {
    BASELINE: "",
    "onebit": "--compressor onebit --onebit-scaling --ef vanilla --compress-momentum nesterov",
    "topk": "--compressor topk --k 0.001",
    "topk + ef, momentum": "--compressor topk --k 0.001 --ef vanilla --compress-momentum nesterov",
    "randomk": "--compressor randomk --k 0.001",
    "randomk + ef, momentum": "--compressor randomk --k 0.001 --ef vanilla --compress-momentum nesterov",
    "dithering": "--compressor dithering --k 2 --normalize l2",
    "dithering + bucket, ef, momentum": "--compressor dithering --k 2 --normalize l2 --bucket 512 --ef vanilla"
    " --compress-momentum nesterov",
    "fp16": "--fp16-pushpull",
}


@dataclass(frozen=True)
class Row:
    """One line of the result; ratios are to the baseline of the same round."""

    job: str
    step_seconds: float
    ratio: float
    ratio_min: float
    ratio_max: float


def once(job: str, options: argparse.Namespace, folder: Path) -> float:
    """Run a cluster of its own for one job; its median step in seconds."""
    out = folder / "seconds.json"
    words = ["--model", options.model, "--batch-size", str(options.batch_size), "--steps", str(options.steps)]
    command = [sys.executable, "-m", "byteps_gc.bench.training", *words, "--out", str(out), *JOBS[job].split()]
    supervisor.launch(supervisor.job(options.workers, options.servers, command), folder)
    return median(json.loads(out.read_text()))


def summary(seconds: Dict[str, List[float]]) -> List[Row]:
    """Medians over the rounds."""
    rows = []
    for job, times in seconds.items():
        ratios = [time / base for time, base in zip(times, seconds[BASELINE])]
        rows.append(Row(job, median(times), median(ratios), min(ratios), max(ratios)))
    return rows


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    cells = [
        (row.job, f"{row.step_seconds:.3f}", f"{row.ratio:.3f}", f"{row.ratio_min:.3f} to {row.ratio_max:.3f}")
        for row in rows
    ]
    tables.show(("job", "step (s)", "x baseline", "range"), cells)


def main(options: argparse.Namespace) -> int:
    """Measure, print the table and write the file."""
    for name in ("workers", "servers", "steps", "rounds", "batch_size"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    unknown = [job for job in options.job if job not in JOBS]
    if unknown:
        raise UserError(f"unknown job {', '.join(unknown)}; known: {', '.join(JOBS)}")
    classifier("--model", options.model, CLASSES, PIXELS)
    tables.require_writable("--json", options.json)
    exit_on_sigterm()
    seconds: Dict[str, List[float]] = {job: [] for job in JOBS if job in [BASELINE, *(options.job or JOBS)]}
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("") as status:
        for number in range(options.rounds):
            for job, times in seconds.items():
                status.update(f"round {number + 1} of {options.rounds}: {job}")
                times.append(once(job, options, Path(folder)))
    rows = summary(seconds)
    show(rows)
    tables.write(rows, options.json)
    return 0
