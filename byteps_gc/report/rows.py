"""Recorded runs as rows, one per compressor: mean, minimum and maximum over its seeds."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Dict, List, Optional, Sequence, Tuple

from byteps_gc.errors import UserError
from byteps_gc.report import configuration, packed, record, target

BASELINE = "baseline"
# what all runs of a table have in common, and what all runs of a row
COMMON = ("model", "dataset", "workers", "batch_size", "train_samples", "val_samples")
COMMON += ("min_compress_bytes", "partition_bytes", "target")
ALIKE = ("epochs", "flags")
NEEDED = (
    ("model", "dataset", "workers", "epochs", "compression"),
    ("epoch", "accuracy", "seconds"),
)  # of start, epochs
SEED = "--seed"
CURVE = 10  # evaluations from which a run's accuracy is a curve with an end worth comparing
NARROW_SUFFIXES = ("-fp16", "-bf16")  # of the name of a job with float16 or bfloat16 push/pull


def label(compression: Dict[str, object]) -> str:
    """Return a row's name as the guide writes it."""
    name = str(compression.get("compressor", BASELINE))
    options = [f"{key}={compression[key]}" for key in ("k", "bucket") if compression.get(key)]
    if compression.get("compressor") == "dithering" and compression.get("rounding") == "nearest":
        options.append("nearest")
    options += ["encoded reply"] if compression.get("reply") == "encoded" else []
    if options:
        name += f"({', '.join(options)})"
    if compression.get("ef") and compression.get("momentum"):
        name = "dist-EF-SGDM" if name == "onebit" else f"{name} + EF + momentum"
    elif compression.get("ef"):
        name += " + EF"
    return name + "".join(f", {narrow}" for narrow in ("fp16", "bf16") if compression.get(narrow))


def seed(run: record.Record) -> Optional[int]:
    """Return the seed of a run; None for a record without one."""
    return run.start.get("flags", {}).get(SEED)


@dataclass(frozen=True)
class Spread:
    """Mean, minimum and maximum of some values."""

    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Optional["Spread"]:
        """Return the spread of some values; None if there are none."""
        return cls(mean(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Row:
    """The runs of one compressor, each with its own seed, and ``baselines``, the runs they are compared with."""

    name: str
    runs: Sequence[record.Record]
    baselines: Sequence[record.Record]

    @property
    def finished(self) -> bool:
        """Whether all runs have finished."""
        return all(one.finished for one in self.runs)

    @property
    def accuracy(self) -> Spread:
        """Validation accuracy after the last epoch, from 0 to 1."""
        return Spread.of([one.epochs[-1]["accuracy"] for one in self.runs])

    @property
    def seconds(self) -> Spread:
        """Seconds of training to the end of the last epoch."""
        return Spread.of([one.epochs[-1]["seconds"] for one in self.runs])

    @property
    def loss(self) -> Optional[Spread]:
        """Validation loss after the last epoch; None for scripts that do not measure it."""
        losses = [one.epochs[-1].get("val_loss") for one in self.runs]
        return None if None in losses else Spread.of(losses)

    @property
    def to_target(self) -> Sequence[Optional[float]]:
        """Seconds of training until each run reached its target; None for a run that did not."""
        return [target.seconds(one) for one in self.runs]

    @property
    def speedup(self) -> Optional[Spread]:
        """Baseline time divided by this row's time, at the last epoch that all completed; None without a baseline."""
        if not self.baselines:
            return None
        last = min(len(one.epochs) for one in [*self.baselines, *self.runs]) - 1
        theirs = mean(one.epochs[last]["seconds"] for one in self.baselines)
        return Spread.of([theirs / one.epochs[last]["seconds"] for one in self.runs])

    @property
    def long(self) -> bool:
        """Whether a run has at least CURVE evaluations."""
        return max(len(one.epochs) for one in self.runs) >= CURVE

    @property
    def difference(self) -> Optional[Spread]:
        """Accuracy minus the baseline's of the same seed, from -1 to 1; None if there is none, or for it."""
        if self.name == BASELINE:
            return None
        theirs = {seed(one): one.epochs[-1]["accuracy"] for one in self.baselines}
        mine = [(seed(one), one.epochs[-1]["accuracy"]) for one in self.runs]
        return Spread.of([round(accuracy - theirs[which], 6) for which, accuracy in mine if which in theirs])

    def step(self, name: str) -> Optional[float]:
        """Return the median over all epochs of a value per step; None if no epoch has it."""
        values = [epoch[name] for one in self.runs for epoch in one.epochs if epoch.get(name) is not None]
        return median(values) if values else None

    @property
    def sent(self) -> Optional[float]:
        """MB (10^6 bytes) that one worker sends per step."""
        return self.step("sent_mb_per_step")

    @property
    def received(self) -> Optional[float]:
        """MB (10^6 bytes) that one worker receives per step."""
        return self.step("received_mb_per_step")

    @property
    def compute(self) -> Optional[float]:
        """Seconds per step until all gradients are computed."""
        return self.step("compute_seconds")

    @property
    def exchange(self) -> Optional[float]:
        """Seconds per step from then until the parameters are updated."""
        return self.step("exchange_seconds")

    def values(self) -> Dict[str, Any]:
        """Return everything, for table.json."""
        spreads = {name: getattr(self, name) for name in ("accuracy", "difference", "loss", "seconds", "speedup")}
        return {
            "compressor": self.name,
            "runs": len(self.runs),
            "seeds": [seed(one) for one in self.runs],
            "finished": self.finished,
            **{name: vars(one) if one else None for name, one in spreads.items()},
            "target": self.runs[0].start.get("target"),
            "seconds_to_target": self.to_target,
            "sent_mb_per_step": self.sent,
            "received_mb_per_step": self.received,
            "compute_seconds_per_step": self.compute,
            "exchange_seconds_per_step": self.exchange,
            "epochs": [one.epochs for one in self.runs],
        }


def find(folders: Sequence[Path]) -> List[record.Record]:
    """Return the records with at least one epoch below some folders.

    They are in the order of configuration.json's jobs. Without it, packed records come first, then the others in the
    order of their last events. Packed records below a folder that also holds the records of runs are copies, and are
    not read.
    """
    loose = {folder: [*folder.rglob("*.jsonl")] for folder in folders}
    files = sorted({file for found in loose.values() for file in found}, key=lambda file: (file.stat().st_mtime, file))
    archives = {file for folder, found in loose.items() if not found for file in folder.rglob(packed.NAME)}
    records = [one for file in sorted(archives) for one in packed.read(file)] + read(files)
    jobs = configuration.jobs(folders)
    return sorted(records, key=lambda one: position(one.job, jobs))


def position(job: str, jobs: Sequence[str]) -> Tuple[int, int]:
    """Return a job's place in the order of some jobs: its variants of 16 bits follow it, unknown jobs are last."""
    name, suffix = split_suffix(job, jobs)
    return (jobs.index(name), NARROW_SUFFIXES.index(suffix) + 1 if suffix else 0) if name in jobs else (len(jobs), 0)


def split_suffix(job: str, jobs: Sequence[str]) -> Tuple[str, str]:
    """Return a job's name without the suffix of a variant, and that suffix; a name among the jobs has none."""
    suffix = next((suffix for suffix in NARROW_SUFFIXES if job.endswith(suffix) and job not in jobs), "")
    return job[: len(job) - len(suffix)], suffix


def read(files: Sequence[Path]) -> List[record.Record]:
    """Return the records in some files that have at least one epoch; :class:`UserError` for one that is damaged."""
    found = [(file, one) for file, one in zip(files, map(record.read, files)) if one.start and one.epochs]
    for file, one in found:
        lacks = [name for name in NEEDED[0] if one.start.get(name) is None]
        lacks += [name for name in NEEDED[1] if any(epoch.get(name) is None for epoch in one.epochs)]
        if lacks:
            raise UserError(f"{file} is not the record of a run: it lacks {', '.join(lacks)}")
    return [one for _, one in found]


def group(records: Sequence[record.Record]) -> List[Row]:
    """Return the rows; :class:`UserError` names a setting in which the runs of one table or row differ."""
    named: Dict[str, List[record.Record]] = {}
    for one in records:
        named.setdefault(label(one.start["compression"]), []).append(one)
    require_same(records, COMMON)
    for runs in named.values():
        require_same(runs, ALIKE)
    return [Row(name, runs, named.get(BASELINE, ())) for name, runs in named.items()]


def require_same(records: Sequence[record.Record], names: Sequence[str]) -> None:
    """Raise :class:`UserError` unless the start events of all records agree on each of these names."""
    for one in records[1:]:
        for name in names:
            pair = [without_seed(each.start.get(name)) for each in (records[0], one)]
            if pair[0] != pair[1]:
                if name == "flags":
                    name, pair = different(*pair)
                raise UserError(
                    f"cannot compare runs of different experiments: {label(records[0].start['compression'])} has {name}"
                    f" {pair[0]}, {label(one.start['compression'])} has {pair[1]}; name folders of one experiment only"
                )


def without_seed(value: Any) -> Any:
    """Return flags without the seed; anything else unchanged."""
    return {name: one for name, one in value.items() if name != SEED} if isinstance(value, dict) else value


def different(one: Dict[str, Any], other: Dict[str, Any]) -> Any:
    """Return the first flag that differs, and its two values."""
    name = next(name for name in [*one, *other] if one.get(name) != other.get(name))
    return name, (one.get(name), other.get(name))
