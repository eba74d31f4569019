"""The HTML report of some runs: one file that loads nothing from elsewhere."""

from html import escape
from pathlib import Path
from typing import List, Sequence

from byteps_gc.report import facts, logs, svg, table
from byteps_gc.report import markup as html
from byteps_gc.report.plot import choose, title
from byteps_gc.report.record import Record
from byteps_gc.report.rows import Row, seed

CAPTIONS = {
    "accuracy_over_time": "Accuracy over time",
    "loss_over_time": "Validation loss over time",
    "accuracy_over_epochs": "Accuracy over epochs",
    "final_accuracy": "Final accuracy",
    "step_time": "Step time",
    "sent": "MB sent",
}
# columns of the table of epochs: title, value in the record, format
EPOCHS = (
    ("Val accuracy", "accuracy", ".2%"),
    ("Top-5", "top5", ".2%"),
    ("Train accuracy", "train_accuracy", ".2%"),
    ("Loss", "loss", ".4f"),
    ("Val loss", "val_loss", ".4f"),
    ("Learning rate", "learning_rate", ".5g"),
    ("Step", "step", "d"),
    ("Samples/s", "samples_per_second", ".1f"),
    ("MB/step", "sent_mb_per_step", ".3f"),
    ("MB received/step", "received_mb_per_step", ".3f"),
    ("Compute (s)", "compute_seconds", ".4f"),
    ("Exchange (s)", "exchange_seconds", ".4f"),
    ("Skipped steps", "skipped_steps", "d"),
    ("Time (s)", "seconds", ".2f"),
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MOST_WARNINGS = 50


def write(rows: Sequence[Row], file: Path, places: Sequence[Path]) -> None:
    """Write the page of some rows; ``places`` are the folders with the runs' logs and configuration."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render(rows, places), encoding="utf-8")


def render(rows: Sequence[Row], places: Sequence[Path]) -> str:
    """Return the page."""
    records = [run for row in rows for run in row.runs]
    found = logs.find(places)
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        html.element("title", escape(title(rows))),
        html.element("style", Path(__file__).with_name("page.css").read_text()),
    ]
    parts = [
        html.element("header", html.element("h1", escape(title(rows))) + html.paragraph(summary(rows, places))),
        html.section("Results", results(rows)),
        html.section("Plots", plots(rows)),
        html.section("Configuration", configuration(rows, places)),
        html.section("Environment", environment(rows, places)),
        html.section("Epochs", "".join(epochs(row, run) for row in rows for run in row.runs)),
        html.section("Warnings", warnings(records, found)),
        html.section("Logs", tails(found, places)),
    ]
    body = html.element("main", "\n".join(parts))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{chr(10).join(head)}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def plural(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def summary(rows: Sequence[Row], places: Sequence[Path]) -> str:
    """Return the line below the title."""
    runs = [run for row in rows for run in row.runs]
    parts = [plural(len(rows), "compressor"), plural(len(runs), "run")]
    unfinished = sum(not run.finished for run in runs)
    if unfinished:
        parts.append(f"{unfinished} unfinished")
    parts += facts.hosts(places)
    started = facts.started(runs)
    if started:
        parts.append(f"started {started}")
    return ", ".join(parts)


def results(rows: Sequence[Row]) -> str:
    """Return the guide's table."""
    note = "Means over seeds, the range in parentheses. Speedup: the baseline's time divided by the row's, at the last"
    note += (
        " epoch that both completed. MB/step: 10⁶ bytes that one worker sends; with PyTorch, one host with its servers."
        " MB received/step: what servers reply to it."
    )
    return html.table(table.titles(rows), table.body(rows)) + html.paragraph(note)


def plots(rows: Sequence[Row]) -> str:
    """Return the plots."""
    chosen = choose(rows)
    figures = [
        html.element(
            "figure", html.element("figcaption", escape(caption)) + svg.inline(rows, name, chosen[name]), id=name
        )
        for name, caption in CAPTIONS.items()
        if name in chosen
    ]
    return html.element("div", "\n".join(figures), class_="plots")


def configuration(rows: Sequence[Row], places: Sequence[Path]) -> str:
    """Return what was run: what all runs share, the compression of each row, and all flags."""
    compression = [(row.name, facts.compression(row.runs[0])) for row in rows]
    parts = [
        html.pairs(facts.training(rows)),
        html.table(("Compressor", "Compression"), compression, words=2),
        html.details("Flags of the training script", html.pairs(facts.flags(rows))),
    ]
    for file, values in facts.configurations(places):
        parts.append(html.details(f"{file.parent.name}/{file.name}", html.pairs(values)))
    return "".join(parts)


def environment(rows: Sequence[Row], places: Sequence[Path]) -> str:
    """Return machine, versions and variables."""
    machine, variables = facts.environment(rows, places)
    if not machine:
        return html.paragraph("The records of these runs do not contain their environment.")
    if not variables:
        return html.pairs(machine)
    return html.pairs(machine) + html.details("Environment variables", html.pairs(variables))


def epochs(row: Row, run: Record) -> str:
    """Return the epochs of a run as a table that a click opens."""
    columns = [column for column in EPOCHS if any(epoch.get(column[1]) is not None for epoch in run.epochs)]
    cells = [
        [
            str(epoch["epoch"] + 1),
            *(format(epoch[name], form) if epoch.get(name) is not None else "" for _, name, form in columns),
        ]
        for epoch in run.epochs
    ]
    about = f"{row.name}, seed {seed(run)}: {plural(len(cells), 'epoch')}"
    return html.details(about, html.table(["Epoch", *(heading for heading, _, _ in columns)], cells))


def warnings(records: Sequence[Record], files: Sequence[Path]) -> str:
    """Return skipped steps, and the warnings in the logs."""
    skipped = sum(epoch.get("skipped_steps") or 0 for run in records for epoch in run.epochs)
    found = logs.warnings(files)
    parts: List[str] = []
    if skipped:
        parts.append(html.paragraph(f"{plural(skipped, 'step')} skipped because a gradient was not finite."))
    if found:
        titles = ("Warning", "Lines")
        parts.append(html.table(titles, [(text, str(number)) for text, number in found[:MOST_WARNINGS]]))
    if len(found) > MOST_WARNINGS:
        parts.append(html.paragraph(f"{len(found) - MOST_WARNINGS} more warnings are in the logs."))
    return "".join(parts) or html.paragraph(f"No warnings in {plural(len(files), 'log')}.")


def tails(files: Sequence[Path], places: Sequence[Path]) -> str:
    """Return the last lines of each log, by folder."""
    folders = list(dict.fromkeys(file.parent for file in files))
    parts = []
    for folder in folders:
        inside = [file for file in files if file.parent == folder]
        inner = "".join(html.details(file.name, html.lines(logs.tail(file) or ["(empty)"])) for file in inside)
        name = facts.relative(folder, places)
        parts.append(html.details(f"{name}: {plural(len(inside), 'log')}", inner, is_open=len(folders) == 1))
    intro = f"The last {logs.LINES} lines of each log on this host." if files else "There are no logs."
    return html.paragraph(intro) + "".join(parts)
