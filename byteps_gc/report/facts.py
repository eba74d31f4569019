"""What records and configuration.json say about runs, as names and texts for people."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from byteps_gc.report import configuration
from byteps_gc.report.record import Record
from byteps_gc.report.rows import SEED, Row, seed

Pairs = List[Tuple[str, str]]

# of a start event
TRAINING = {
    "model": "Model",
    "dataset": "Data set",
    "workers": "Workers",
    "batch_size": "Batch size per worker",
    "batches": "Steps per epoch",
    "epochs": "Epochs",
    "learning_rate": "Learning rate (all workers)",
    "train_samples": "Training images",
    "val_samples": "Validation images",
    "min_compress_bytes": "min_compress_bytes",
    "partition_bytes": "partition_bytes",
}
# of its environment
MACHINE = {
    "host": "Host",
    "processor": "Processor",
    "cores": "Logical CPUs",
    "cores_used": "CPUs used",
    "memory_gib": "Memory (GiB)",
    "system": "Operating system",
    "python": "Python",
    "commit": "Commit",
}


def text(value: Any) -> str:
    """Return a value for people: a dict as options, a list as words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(map(text, value))
    return str(value)


def merge(named: Sequence[Tuple[str, Mapping[str, Any]]]) -> Dict[str, str]:
    """Return each name's value; where rows differ, each value with the rows that have it. Unset values are left out."""
    merged = {}
    for name in dict.fromkeys(name for _, values in named for name in values):
        owners: Dict[str, List[str]] = {}
        for row, values in named:
            if values.get(name) not in (None, ""):
                owners.setdefault(text(values[name]), []).append(row)
        shared = [value for value, rows in owners.items() if len(rows) == len(named)]
        each = [f"{value} ({', '.join(dict.fromkeys(rows))})" for value, rows in owners.items()]
        if owners:
            merged[name] = "; ".join(shared or each)
    return merged


def runs(rows: Sequence[Row]) -> List[Tuple[str, Record]]:
    """Return all runs with the names of their rows."""
    return [(row.name, run) for row in rows for run in row.runs]


def training(rows: Sequence[Row]) -> Pairs:
    """Return what was trained, and the seeds."""
    values = merge([(name, {key: run.start[key] for key in TRAINING if key in run.start}) for name, run in runs(rows)])
    seeds = sorted({str(seed(run)) for _, run in runs(rows)})
    return [*((TRAINING[name], value) for name, value in values.items()), ("Seeds", ", ".join(seeds))]


def compression(run: Record) -> str:
    """Return a run's compression, the compressor first."""
    given = run.start.get("compression") or {}
    return text({"compressor": given.get("compressor", "none"), **given})


def flags(rows: Sequence[Row]) -> Pairs:
    """Return the training script's flags that any run sets, without the seed."""
    given = [(row, run.start.get("flags", {})) for row, run in runs(rows)]
    found = merge([(row, {name: value for name, value in one.items() if value is not False}) for row, one in given])
    return [(name, value) for name, value in found.items() if name != SEED]


def configurations(places: Sequence[Path]) -> List[Tuple[Path, Pairs]]:
    """Return each configuration.json in some folders, with what it says about the runs."""
    return [
        (file, list(flat(content.get("configuration", {})).items())) for file, content in configuration.find(places)
    ]


def hosts(places: Sequence[Path]) -> List[str]:
    """Return the hosts and the bandwidth of their links, where configuration.json holds them."""
    found = []
    for _, content in configuration.find(places):
        common = content.get("configuration", {})
        if common.get("hosts"):
            kind = "simulated hosts" if common.get("namespaces") else "hosts"
            rate = f" with {common['rate']} links" if common.get("rate") else ""
            found.append(f"{common['hosts']} {kind}{rate}")
    return found


def flat(values: Mapping[str, Any], prefix: str = "") -> Dict[str, str]:
    """Return the values of nested dicts by their names, joined."""
    found: Dict[str, str] = {}
    for name, value in values.items():
        title = f"{prefix}{name}".replace("_", " ")
        found.update(flat(value, f"{title} ") if isinstance(value, Mapping) else {title: text(value)})
    return found


def environment(rows: Sequence[Row], places: Sequence[Path]) -> Tuple[Pairs, Pairs]:
    """Return the machine with its versions, and the variables: of the records, or else of configuration.json."""
    found = [(name, run.start["environment"]) for name, run in runs(rows) if run.start.get("environment")]
    if not found:
        for file, content in configuration.find(places):
            others = content.get("measured_separately", ())
            found.append((file.parent.name if not others else "other rows", of_configuration(content)))
            found += [(text(one["rows"]), of_configuration(one)) for one in others]
    machine = [
        (name, {**{title: about[key] for key, title in MACHINE.items() if key in about}, **about.get("packages", {})})
        for name, about in found
    ]
    variables = [(name, about.get("variables", {})) for name, about in found]
    return list(merge(machine).items()), sorted(merge(variables).items())


def of_configuration(content: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the environment that a configuration.json holds, in the form of a record's."""
    machine = content.get("machine", {})
    used = len(machine.get("cores_used", ())) or machine.get("cores")
    return {
        **machine,
        "cores_used": used,
        **{name: content[name] for name in ("python", "commit") if content.get(name)},
        "variables": {name: value for name, value in content.get("environment", {}).items() if value},
    }


def started(records: Sequence[Record]) -> str:
    """Return when the first run started; empty if no record says so."""
    dates = [run.start["environment"]["date"] for run in records if run.start.get("environment")]
    return min(dates, default="").replace("T", " ")


def relative(folder: Path, places: Sequence[Path]) -> str:
    """Return a folder's path from the place above it, with the place's name."""
    for place in places:
        if place in (folder, *folder.parents):
            return str(Path(place.absolute().name) / folder.relative_to(place))
    return str(folder)
