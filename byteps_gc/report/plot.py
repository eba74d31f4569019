"""Plots of recorded runs, each as PNG and SVG."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

from byteps_gc.report.rows import Row, seed

MARKERS = "osD^vPX*"
LINES = ("-", "--", ":", "-.")
FAR = 8  # ratio of the slowest to the fastest run from which the time axis is logarithmic

Hover = Dict[str, List[str]]  # group id in the SVG -> what each of its points or its bar shows, see report.svg
Plot = Callable[[Any, Sequence[Row]], Hover]


def curves(axes: Any, rows: Sequence[Row], over: str, name: str, factor: float = 1.0) -> Hover:
    """Plot a value of each epoch: one line per run in the row's style, thin if runs are long."""
    hover, look = {}, styles(rows)
    size = {"linewidth": 1.0, "markersize": 3} if any(row.long for row in rows) else {}
    for number, row in enumerate(rows):
        for run in row.runs:
            gid = f"line-{number}-{row.runs.index(run)}"
            axes.plot(
                [position(epoch) if over == "epochs" else epoch["seconds"] for epoch in run.epochs],
                [factor * epoch[name] for epoch in run.epochs],
                marker=MARKERS[number % len(MARKERS)],
                **look[number],
                **size,
                label=row.name if run is row.runs[0] else None,
                gid=gid,
            )
            about = f"{row.name}, seed {seed(run)}"
            form = ".2%" if name == "accuracy" else ".3f"
            hover[gid] = [
                f"{about}, {'step' if 'step' in epoch else 'epoch'} {position(epoch)}: {epoch[name]:{form}} after"
                f" {epoch['seconds']:.1f} s"
                for epoch in run.epochs
            ]
    # inside, it would cover lines
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False, fontsize="small")
    return hover


def styles(rows: Sequence[Row]) -> List[Dict[str, str]]:
    """Return a colour for each compressor, and a line style for each of its rows."""
    names = [row.runs[0].start["compression"].get("compressor", "") for row in rows]
    colors = {name: f"C{number % 10}" for number, name in enumerate(dict.fromkeys(names))}
    return [
        {"color": colors[name], "linestyle": LINES[names[:number].count(name) % len(LINES)]}
        for number, name in enumerate(names)
    ]


def position(epoch: Dict[str, Any]) -> int:
    """Return the number of the step that an evaluation followed, or that of the epoch."""
    return epoch.get("step", epoch["epoch"] + 1)


def accuracy(axes: Any, rows: Sequence[Row], over: str) -> Hover:
    """Plot validation accuracy."""
    axes.set_ylabel("validation accuracy (%)")
    return curves(axes, rows, over, "accuracy", 100)


def over_time(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot accuracy over training time."""
    hover = accuracy(axes, rows, "seconds")
    time_axis(axes, rows)
    return hover


def loss_over_time(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot validation loss over training time."""
    axes.set_ylabel("validation loss")
    hover = curves(axes, rows, "seconds", "val_loss")
    time_axis(axes, rows)
    return hover


def time_axis(axes: Any, rows: Sequence[Row]) -> None:
    """Make the horizontal axis that of time, logarithmic if a run is far slower than another."""
    from matplotlib import ticker

    axes.set_xlabel("training time (s)")
    if max(row.seconds.max for row in rows) < FAR * min(row.seconds.min for row in rows):
        axes.set_xlim(left=0)
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def over_epochs(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot accuracy over epochs."""
    hover = accuracy(axes, rows, "epochs")
    axes.set_xlabel("step" if "step" in rows[0].runs[0].epochs[0] else "epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    return hover


def final_accuracy(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot each run's accuracy after its last epoch, its row's mean, and the range of the baseline."""
    hover, look = {}, styles(rows)
    for number, row in enumerate(rows):
        last, gid = [100 * run.epochs[-1]["accuracy"] for run in row.runs], f"final-{number}"
        style = {"color": look[number]["color"], "linestyle": "none"}
        axes.plot(last, [number] * len(last), marker="o", markersize=5, gid=gid, **style)
        axes.plot([100 * row.accuracy.mean], [number], marker="|", markersize=16, **style)
        seeds = [seed(run) for run in row.runs]
        hover[gid] = [f"{row.name}, seed {which}: {value:.2f}%" for which, value in zip(seeds, last)]
    found = [100 * run.epochs[-1]["accuracy"] for run in rows[0].baselines]
    if found:
        axes.axvspan(min(found), max(found), color="C7", alpha=0.3, label="range of the baseline")
        axes.legend()
    row_labels(axes, rows)
    axes.set_xlabel("validation accuracy after the last epoch (%)")
    return hover


def row_labels(axes: Any, rows: Sequence[Row]) -> None:
    """Name the rows on the vertical axis, the first one on top."""
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([row.name.replace(" + EF", "\n+ EF") for row in rows])
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def bars(axes: Any, rows: Sequence[Row], values: Sequence[float], what: str, unit: str, **options: Any) -> Hover:
    """Draw a bar for each row, the first one on top."""
    drawn = axes.barh(range(len(rows)), values, **options)
    row_labels(axes, rows)
    hover = {}
    for number, (bar, row, value) in enumerate(zip(drawn, rows, values)):
        gid = f"bar-{what.split()[0]}-{number}"
        bar.set_gid(gid)
        hover[gid] = [f"{row.name}: {what} {value:.3f} {unit}"]
    return hover


def annotate(axes: Any, values: Sequence[float], hover: Hover) -> Hover:
    """Write each value after its bar, which it shows with all of ``hover``; a bar may be too short to point at."""
    names = {}
    for number, value in enumerate(values):
        gid = f"value-{number}"
        offset = {"xytext": (4, 0), "textcoords": "offset points"}
        axes.annotate(f"{value:.3g}", (value, number), va="center", gid=gid, **offset)
        names[gid] = [", ".join(texts[0] for name, texts in hover.items() if name.endswith(f"-{number}"))]
    axes.margins(x=0.12)
    return {**hover, **names}


def step_time(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot a step's compute time and exchange time, measured without overlap."""
    computing = [row.compute or 0.0 for row in rows]
    hover = bars(axes, rows, computing, "compute", "s", label="compute", color="C7")
    exchanging = [row.exchange or 0.0 for row in rows]
    label = "exchange and update"
    hover.update(bars(axes, rows, exchanging, label, "s", label=label, left=computing, color="C3"))
    axes.set_xlabel("seconds per step, without overlap")
    axes.legend()
    return annotate(axes, [sum(parts) for parts in zip(computing, exchanging)], hover)


def sent(axes: Any, rows: Sequence[Row]) -> Hover:
    """Plot the bytes that a worker sends per step."""
    values = [row.sent or 0.0 for row in rows]
    hover = bars(axes, rows, values, "sends", "MB/step")
    axes.set_xlabel("MB (10^6 bytes) sent per worker and step")
    return annotate(axes, values, hover)


def choose(rows: Sequence[Row]) -> Dict[str, Plot]:
    """Return the plots for which there are measurements, by name."""
    plots: Dict[str, Plot] = {"accuracy_over_time": over_time, "accuracy_over_epochs": over_epochs}
    if any(row.long for row in rows):
        plots["final_accuracy"] = final_accuracy
    if all(row.loss for row in rows):
        plots["loss_over_time"] = loss_over_time
    if any(row.sent for row in rows):
        plots["sent"] = sent
    if any(row.exchange for row in rows):
        plots["step_time"] = step_time
    return plots


def title(rows: Sequence[Row]) -> str:
    """Return what was trained, in a line."""
    start = rows[0].runs[0].start
    return f"{start['model']} on {start['dataset']}, {start['workers']} workers"


def make(rows: Sequence[Row], plot: Plot, size: Tuple[float, float] = (8, 6)) -> Tuple[Any, Hover]:
    """Return a figure, which the caller closes, and its hover texts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=size)
    hover = plot(axes, rows)
    axes.grid(alpha=0.3)
    return figure, hover


def draw(rows: Sequence[Row], stem: Path, plot: Plot) -> List[Path]:
    """Draw one plot into ``stem``.png and ``stem``.svg; returns both."""
    from matplotlib import pyplot

    figure, _ = make(rows, plot)
    figure.axes[0].set_title(title(rows))
    figure.tight_layout()
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        figure.savefig(str(file), dpi=120)
    pyplot.close(figure)
    return files


def draw_all(rows: Sequence[Row], folder: Path) -> List[Path]:
    """Draw all plots for which there are measurements; returns their files."""
    return [file for name, plot in choose(rows).items() for file in draw(rows, folder / name, plot)]
