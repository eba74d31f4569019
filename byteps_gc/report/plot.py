"""Plots of what runs recorded."""

from pathlib import Path
from typing import Sequence

from byteps_gc.report import table
from byteps_gc.report.record import Record


def accuracy(records: Sequence[Record], file: Path) -> None:
    """Validation accuracy over training time, one line a job, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for one, marker in zip(records, "osD^vPX*" * len(records)):
        seconds = [epoch["seconds"] for epoch in one.epochs]
        percent = [100 * epoch["accuracy"] for epoch in one.epochs]
        axes.plot(seconds, percent, marker=marker, label=table.label(one.start["compression"]))
    start = records[0].start
    axes.set_title(f"{start['model']} on {start['dataset']}, {start['workers']} workers")
    axes.set_xlabel("training time (s)")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(str(file), dpi=120)
    pyplot.close(figure)
