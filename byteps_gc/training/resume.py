"""Resuming a run: its checkpoint, whether its settings are the same, and which state is lost."""

import argparse
from pathlib import Path
from typing import Any, Dict, Mapping

from byteps_gc import env
from byteps_gc.compressors.settings import Settings
from byteps_gc.errors import UserError
from byteps_gc.report import record
from byteps_gc.training import checkpoint

# These flags, and all whose values are paths, may change when a run is resumed: they do not change the training.
FREE = ("help", "check", "save_period", "save_dir", "logging_file", "num_workers", "log_interval")
FREE += ("resume_from", "resume_params", "resume_states", "resume_epoch")


def fixed_flags(parser: argparse.ArgumentParser, opt: argparse.Namespace) -> Dict[str, Any]:
    """Return the flags, with their values, that must be the same when a run is resumed."""
    actions = [action for action in parser._actions if action.dest not in FREE and action.type is not Path]
    return {action.option_strings[-1]: getattr(opt, action.dest) for action in actions}


def check(opt: argparse.Namespace) -> None:
    """Check --resume-from on worker 0, which has the files.

    Raises :class:`UserError` for a checkpoint that is missing or damaged, and for a run that began with other settings.
    """
    if opt.resume_from and env.integer("DMLC_WORKER_ID") == 0:
        checkpoint.check(opt.resume_from)
        setting = env.setting() if env.text("DMLC_NUM_WORKER") else {}
        require_same(record.read(record.path_of(opt.logging_file)).start, {"flags": opt.flags, **setting})


def require_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the start of a run's record with this start; :class:`UserError` names the settings that differ."""
    pairs = {name: (before[name], now[name]) for name in before if name in now}
    was, flags = pairs.pop("flags", ({}, {}))
    pairs = {**{name: (was[name], flags[name]) for name in was if name in flags}, **pairs}
    found = [f"{name} {shown(was)} (now {shown(now)})" for name, (was, now) in pairs.items() if was != now]
    if found:
        raise UserError(f"cannot resume with other settings: the run was started with {', '.join(found)}")


def shown(value: Any) -> str:
    """Return a flag's value, for messages."""
    return "not given" if value is None or value is False else str(value)


def not_carried_over(settings: Settings) -> str:
    """Return the state of the compressors that no checkpoint holds, for the log; empty if there is none."""
    compressor, parts = settings.compressor, []
    if settings.ef:
        where = "workers" if compressor.lossless_reply else "workers and servers"
        parts.append(f"residuals of error feedback ({where})")
    if settings.momentum:
        parts.append("momentum")
    if compressor and "seed" in compressor.option_names():
        parts.append("count of steps, which random numbers depend on")
    return ", ".join(parts)


def complete_best(opt: argparse.Namespace, progress: Mapping[str, Any]) -> None:
    """Write ``best`` on rank 0, if the run ended after writing its best checkpoint, but before copying it."""
    best = Path(opt.save_dir, "best")
    if progress.get("accuracy") == progress["best"] > checkpoint.progress_of(best).get("best", 0.0):
        checkpoint.copy(checkpoint.find(opt.resume_from), best)
