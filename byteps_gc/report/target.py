"""The target of a run, which its start event may have: ``{"accuracy": 0.85}``, or ``{"loss": 2.4}`` of validation."""

import math
from typing import Dict, Mapping, Optional, Sequence

from byteps_gc.errors import UserError
from byteps_gc.report.record import Record


def parse(text: str) -> Dict[str, float]:
    """Parse "accuracy=0.85" or "loss=2.4"; :class:`UserError` for anything else."""
    what, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if what not in ("accuracy", "loss") or not math.isfinite(number):
        raise UserError(f"target {text!r} is not accuracy=NUMBER or loss=NUMBER, such as accuracy=0.85")
    return {what: number}


def replace(records: Sequence[Record], target: Dict[str, float]) -> None:
    """Give all records another target; :class:`UserError` for a loss if some have no validation loss."""
    for run in records:
        if "loss" in target and any(epoch.get("val_loss") is None for epoch in run.epochs):
            raise UserError(f"target loss={target['loss']:g}: the record of {run.job} has no validation loss")
        for start in (run.start, *(event for event in run.events if event["event"] == "start")):
            start["target"] = target


def name(target: Dict[str, float]) -> str:
    """Return a target for people."""
    ((what, value),) = target.items()
    return f"loss {value:.4g}" if what == "loss" else f"{value:.4%}".rstrip("0%").rstrip(".") + "%"


def is_reached(target: Mapping[str, float], epoch: Mapping[str, float]) -> bool:
    """Whether an evaluation is at a target; False without one."""
    if "accuracy" in target:
        return epoch["accuracy"] >= target["accuracy"]
    return "loss" in target and epoch["val_loss"] <= target["loss"]


def seconds(run: Record) -> Optional[float]:
    """Return the seconds of training until the first evaluation at a run's target; None if it has not reached any."""
    target = run.start.get("target") or {}
    return next((epoch["seconds"] for epoch in run.epochs if is_reached(target, epoch)), None)
