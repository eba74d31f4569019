"""``bench predict``: compare the models of a step with runs, and predict clusters of GPUs."""

import argparse
import itertools
import math
from typing import Dict, Iterable, Iterator, Sequence, Tuple

from byteps_gc.bench import model_gradients, tables
from byteps_gc.bench.step_check import Check, check, measured
from byteps_gc.bench.step_model import CODECS, Predicted, kernels, predict
from byteps_gc.errors import UserError
from byteps_gc.report import table


def seconds_of(words: Sequence[str]) -> Dict[str, float]:
    """Return the seconds by model from ``--compute MODEL=SECONDS``; :class:`UserError`."""
    found = {}
    for word in words:
        model, _, number = word.partition("=")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = math.nan
        if model not in model_gradients.MODELS or not 0 < found[model] < math.inf:
            raise UserError(
                f"invalid --compute {word}: expected MODEL=SECONDS with MODEL one of"
                f" {', '.join(model_gradients.MODELS)}"
            )
    return found


def main(options: argparse.Namespace) -> int:
    """Compare the model with runs, and print the predictions for clusters."""
    tables.require_writable("--markdown", options.markdown)
    computes = seconds_of(options.compute)
    if not options.folder and not computes:
        raise UserError("nothing to predict; give folders of reproduce.sh, or --compute with --compressors")
    if bool(computes) != bool(options.compressors):
        raise UserError("--compute and --compressors need each other")
    if min(options.cores, options.partition_bytes) < 1:
        raise UserError("--cores and --partition-bytes must be at least 1")
    checks = check([one for folder in options.folder for one in measured(folder)])
    if options.folder and not checks:
        raise UserError(
            "no compressor and number of hosts in these folders has runs both with and without a bandwidth limit"
        )
    found = []
    if checks:
        titles = ("compressor", "hosts", "rate", "MB sent", "efficiency", "predicted s", "measured s", "ratio")
        found.append((titles, [*map(check_cells, checks)], 3))
    if computes:
        titles = (
            "model",
            "hosts x GPUs",
            "rate",
            "step s without compression",
            *(f"{codec}: speedup" for codec in CODECS),
        )
        steps = predict(computes, *kernels(options.compressors), options.cores, options.partition_bytes)
        found.append((titles, [*predicted_cells(steps)], 3))
    for one in found:
        tables.show(*one)
    if options.markdown:
        options.markdown.write_text("\n".join("\n".join([*table.lines(*one), ""]) for one in found))
    return 0


def check_cells(one: Check) -> Tuple[str, ...]:
    """Return a row of the table of measured steps."""
    run = one.run
    numbers = (f"{run.sent / 1e6:.2f}", f"{one.efficiency:.2f}", f"{one.predicted:.3f}", f"{run.step:.3f}")
    return (run.compressor, str(run.hosts), run.rate, *numbers, f"{one.ratio:.2f}")


def predicted_cells(found: Iterable[Predicted]) -> Iterator[Tuple[str, ...]]:
    """Yield the rows of the table of clusters: a step without compression, and the speedup with each codec."""
    for (model, hosts, rate), steps in itertools.groupby(found, key=lambda one: (one.model, one.hosts, one.rate)):
        none, *others = steps
        yield (model, f"{hosts} x 8", rate, f"{none.step:.3f}", *(f"{one.speedup:.2f}" for one in others))
