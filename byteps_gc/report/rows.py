"""What runs recorded, a row for each compressor: means over its seeds, and the least and the greatest."""

from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Dict, List, Optional, Sequence

from byteps_gc.errors import UserError
from byteps_gc.report import record

BASELINE = "baseline"
# What runs have to have in common to be rows of one table, and what those of one row have to.
COMMON = ("model", "dataset", "workers", "batch_size", "train_samples", "val_samples")
COMMON += ("min_compress_bytes", "partition_bytes")
ALIKE = ("epochs", "flags")
SEED = "--seed"


def label(compression: Dict[str, object]) -> str:
    """A row's name, as the guide writes it."""
    name = str(compression.get("compressor", BASELINE))
    numbers = ", ".join(f"{key}={compression[key]}" for key in ("k", "bucket") if compression.get(key))
    if numbers:
        name += f"({numbers})"
    if compression.get("ef") and compression.get("momentum"):
        name = "dist-EF-SGDM" if name == "onebit" else f"{name} + EF + momentum"
    elif compression.get("ef"):
        name += " + EF"
    return name + (", fp16" if compression.get("fp16") else "")


@dataclass(frozen=True)
class Spread:
    """The mean of some values, the least and the greatest."""

    mean: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Optional["Spread"]:
        """Of at least one value; else None."""
        return cls(mean(values), min(values), max(values)) if values else None


@dataclass(frozen=True)
class Row:
    """The runs of one compressor with other seeds, and ``baselines``, the runs that they are compared with."""

    name: str
    runs: Sequence[record.Record]
    baselines: Sequence[record.Record]

    @property
    def finished(self) -> bool:
        """Whether all runs have come to their end."""
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
    def speedup(self) -> Optional[Spread]:
        """How often faster the last epoch is reached that a baseline has as well; None without a baseline."""
        if not self.baselines:
            return None
        last = min(len(one.epochs) for one in [*self.baselines, *self.runs]) - 1
        theirs = mean(one.epochs[last]["seconds"] for one in self.baselines)
        return Spread.of([theirs / one.epochs[last]["seconds"] for one in self.runs])

    def step(self, name: str) -> Optional[float]:
        """The median of what epochs say of a step; None where they do not."""
        values = [epoch[name] for one in self.runs for epoch in one.epochs if epoch.get(name) is not None]
        return median(values) if values else None

    @property
    def sent(self) -> Optional[float]:
        """10^6 bytes that one worker hands to the network in a step."""
        return self.step("sent_mb_per_step")

    @property
    def compute(self) -> Optional[float]:
        """Seconds of a step until the gradients are there."""
        return self.step("compute_seconds")

    @property
    def exchange(self) -> Optional[float]:
        """Seconds of a step from there until the parameters are new."""
        return self.step("exchange_seconds")

    def values(self) -> Dict[str, Any]:
        """All of it, for a file."""
        spreads = {name: getattr(self, name) for name in ("accuracy", "seconds", "speedup")}
        return {
            "compressor": self.name,
            "runs": len(self.runs),
            "seeds": [one.start.get("flags", {}).get(SEED) for one in self.runs],
            "finished": self.finished,
            **{name: vars(one) if one else None for name, one in spreads.items()},
            "sent_mb_per_step": self.sent,
            "compute_seconds_per_step": self.compute,
            "exchange_seconds_per_step": self.exchange,
            "epochs": [one.epochs for one in self.runs],
        }


def find(folders: Sequence[Path]) -> List[record.Record]:
    """The records with at least one epoch below the folders, in order of their last event."""
    files = {file for folder in folders for file in folder.rglob("*.jsonl")}
    return read(sorted(files, key=lambda file: file.stat().st_mtime))


def read(files: Sequence[Path]) -> List[record.Record]:
    """The records of these files that have at least one epoch."""
    return [one for one in map(record.read, files) if one.start and one.epochs]


def group(records: Sequence[record.Record]) -> List[Row]:
    """The rows; :class:`UserError` names what runs do not have in common that should."""
    named: Dict[str, List[record.Record]] = {}
    for one in records:
        named.setdefault(label(one.start["compression"]), []).append(one)
    require_same(records, COMMON)
    for runs in named.values():
        require_same(runs, ALIKE)
    return [Row(name, runs, named.get(BASELINE, ())) for name, runs in named.items()]


def require_same(records: Sequence[record.Record], names: Sequence[str]) -> None:
    """:class:`UserError` unless the starts of all records say the same of each of these names."""
    for one in records[1:]:
        for name in names:
            pair = [without_seed(each.start.get(name)) for each in (records[0], one)]
            if pair[0] != pair[1]:
                if name == "flags":
                    name, pair = different(*pair)
                raise UserError(
                    f"these runs are not of one experiment: {label(records[0].start['compression'])} has {name}"
                    f" {pair[0]}, {label(one.start['compression'])} has {pair[1]}; name folders of one at a time"
                )


def without_seed(value: Any) -> Any:
    """Flags but for the seed; anything else as it is."""
    return {name: one for name, one in value.items() if name != SEED} if isinstance(value, dict) else value


def different(one: Dict[str, Any], other: Dict[str, Any]) -> Any:
    """The first flag that is not the same, and its two values."""
    name = next(name for name in [*one, *other] if one.get(name) != other.get(name))
    return name, (one.get(name), other.get(name))
