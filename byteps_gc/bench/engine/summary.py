"""What ``bench engine`` makes of its values: ratios, medians, the table and the file."""

from statistics import median
from typing import Any, Dict, Iterator, List, Optional, Sequence

from byteps_gc.bench import tables
from byteps_gc.bench.engine.clusters import KEYS, MANY_WORKERS, WORKERS, Values

OURS, RELEASED, ALONE = "ours", "stock", "alone"

Found = Dict[str, List[Values]]  # by side, what each round found

TITLES = {
    "idle_core_percent": "idle cluster, % of a core",
    "step_wall_ratio": "step time / one process",
    "step_cpu_ratio": "step CPU time / one process",
    "exchange_seconds": "exchange of 45 MB, s",
    "init_seconds": "first exchange, s",
    "server_ratio_8_to_2": "server CPU time, 8 workers / 2",
}

GOALS = {
    "idle_core_percent": 2,
    "step_wall_ratio": 1.5,
    "step_cpu_ratio": 2,
    "exchange_seconds": 0.12,
    "init_seconds": 3,
    "server_ratio_8_to_2": 4,
}


def ratio(one: Values, other: Values, name: str, other_name: str = "") -> Optional[float]:
    """The ratio of two values; None unless both are there and above 0."""
    above, below = one.get(name), other.get(other_name or name)
    return above / below if above and below else None


def add_ratios(one: Values, alone: Values) -> None:
    """Add to what a side found in a round what follows from it and from the process that trained alone."""
    many, few = f"server_seconds_{MANY_WORKERS}", f"server_seconds_{WORKERS}"
    ratios = {"server_ratio_8_to_2": ratio(one, one, many, few)}
    for kind in ("wall", "cpu"):
        name = f"step_{kind}_seconds"
        ratios[f"step_{kind}_ratio"] = ratio(one, alone, name)
        ratios[f"step_{kind}_ratio_one_batch"] = ratio(one, alone, name, f"{name}_one_batch")
    one.update({name: value for name, value in ratios.items() if value is not None})


def statistics(rounds: Sequence[Values]) -> Dict[str, Dict[str, Any]]:
    """Of every value: each round's (None where there is none), their median, least and greatest."""
    found = {}
    for name in sorted({name for one in rounds for name in one}):
        values = [one.get(name) for one in rounds]
        known = [value for value in values if value is not None]
        found[name] = {"values": values, "median": median(known), "min": min(known), "max": max(known)}
    return found


def medians(raw: Dict[str, Dict[str, Any]]) -> Dict[str, Optional[float]]:
    """The medians of what is reported; None for what was not measured."""
    return {key: raw[key]["median"] if key in raw else None for key in KEYS}


def summary(found: Found) -> Dict[str, Any]:
    """The part of the file that comes from the values."""
    for side in (OURS, RELEASED):
        for one, alone in zip(found[side], found[ALONE]):
            add_ratios(one, alone)
    raw = {side: statistics(rounds) for side, rounds in found.items()}
    return {**medians(raw[OURS]), RELEASED: medians(raw[RELEASED]), "raw": raw}


def cells(key: str, raw: Dict[str, Dict[str, Any]]) -> Iterator[str]:
    """A row of the table."""
    yield TITLES[key]
    yield f"{GOALS[key]:g}"
    for side in (OURS, RELEASED):
        one = raw[side].get(key)
        yield f"{one['median']:.3g}" if one else ""
        yield f"{one['min']:.3g} to {one['max']:.3g}" if one else ""
    ours, theirs = (raw[side].get(key, {}).get("median") for side in (OURS, RELEASED))
    yield f"{ours / theirs:.3f}" if ours and theirs else ""


def show(raw: Dict[str, Dict[str, Any]], notes: Sequence[str]) -> None:
    """Print the table of what was measured, and the notes."""
    rows = [list(cells(key, raw)) for key in KEYS if any(key in raw[side] for side in (OURS, RELEASED))]
    tables.show(("", "goal", "byteps_gc", "range", "stock BytePS", "range", "byteps_gc / stock"), rows)
    for note in notes:
        print(note)
