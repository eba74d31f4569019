"""Plots of what runs recorded, each as PNG and SVG."""

from pathlib import Path
from typing import Any, Callable, List, Sequence

from byteps_gc.report.rows import Row

MARKERS = "osD^vPX*"
FAR = 8  # times as long as the fastest run: then the axis of time is logarithmic


def accuracy(axes: Any, rows: Sequence[Row], over: str) -> None:
    """Validation accuracy, one line a run, those of one row in one colour."""
    for number, row in enumerate(rows):
        for run in row.runs:
            axes.plot(
                [epoch["seconds"] if over == "seconds" else epoch["epoch"] + 1 for epoch in run.epochs],
                [100 * epoch["accuracy"] for epoch in run.epochs],
                color=f"C{number % 10}",
                marker=MARKERS[number % len(MARKERS)],
                label=row.name if run is row.runs[0] else None,
            )
    axes.set_ylabel("validation accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False)  # inside, it would cover lines


def over_time(axes: Any, rows: Sequence[Row]) -> None:
    """Accuracy over the seconds of training, on a scale that shows the fast runs beside a far slower one."""
    from matplotlib import ticker

    accuracy(axes, rows, "seconds")
    axes.set_xlabel("training time (s)")
    if max(row.seconds.max for row in rows) < FAR * min(row.seconds.min for row in rows):
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def over_epochs(axes: Any, rows: Sequence[Row]) -> None:
    """Accuracy over epochs."""
    accuracy(axes, rows, "epochs")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def bars(axes: Any, rows: Sequence[Row], values: Sequence[float], **options: Any) -> None:
    """A bar for each row, the first one on top."""
    axes.barh(range(len(rows)), values, **options)
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([row.name for row in rows])
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def annotate(axes: Any, values: Sequence[float]) -> None:
    """Write each value behind its bar."""
    for number, value in enumerate(values):
        axes.annotate(f" {value:.3g}", (value, number), va="center")
    axes.margins(x=0.12)


def step_time(axes: Any, rows: Sequence[Row]) -> None:
    """A step's seconds, of computing and of exchanging, where the exchange begins when all gradients are there."""
    computing = [row.compute or 0.0 for row in rows]
    bars(axes, rows, computing, label="compute", color="C7")
    exchanging = [row.exchange or 0.0 for row in rows]
    bars(axes, rows, exchanging, left=computing, label="exchange and update", color="C3")
    annotate(axes, [sum(parts) for parts in zip(computing, exchanging)])
    axes.set_xlabel("seconds of a step that computes, and then exchanges")
    axes.legend()


def sent(axes: Any, rows: Sequence[Row]) -> None:
    """What a worker sends in a step."""
    values = [row.sent or 0.0 for row in rows]
    bars(axes, rows, values)
    annotate(axes, values)
    axes.set_xlabel("MB (10^6 bytes) that a worker sends in a step")


def draw(rows: Sequence[Row], stem: Path, plot: Callable[[Any, Sequence[Row]], None]) -> List[Path]:
    """Draw one plot into ``stem``.png and ``stem``.svg; returns both."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 6))
    plot(axes, rows)
    start = rows[0].runs[0].start
    axes.set_title(f"{start['model']} on {start['dataset']}, {start['workers']} workers")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        figure.savefig(str(file), dpi=120)
    pyplot.close(figure)
    return files


def draw_all(rows: Sequence[Row], folder: Path) -> List[Path]:
    """All plots for which something was measured; returns their files."""
    plots = {"accuracy_over_time": over_time, "accuracy_over_epochs": over_epochs, "sent": sent}
    if any(row.exchange for row in rows):
        plots["step_time"] = step_time
    return [file for name, plot in plots.items() for file in draw(rows, folder / name, plot)]
