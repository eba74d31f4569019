"""The target of a run, which its start event may have: ``{"accuracy": 0.85}``, or ``{"loss": 2.4}`` of validation."""

from typing import Dict, Optional

from byteps_gc.report.record import Record


def name(target: Dict[str, float]) -> str:
    """Return a target for people."""
    ((what, value),) = target.items()
    return f"loss {value:.4g}" if what == "loss" else f"{value:.4%}".rstrip("0%").rstrip(".") + "%"


def seconds(run: Record) -> Optional[float]:
    """Return the seconds of training until the first evaluation at a run's target; None if it has not reached any."""
    for what, value in (run.start.get("target") or {}).items():
        for epoch in run.epochs:
            if epoch["accuracy"] >= value if what == "accuracy" else epoch["val_loss"] <= value:
                return epoch["seconds"]
    return None
