"""Communication hooks by name: PyTorch's own, for comparison, and the compressors of byteps_gc."""

import argparse
import ast
import re
from typing import Any, Dict, Sequence

from byteps_gc import compressors
from byteps_gc.compressors.settings import Settings
from byteps_gc.errors import UserError
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook


def bf16(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Call PyTorch's hook, which register_comm_hook itself, by its name, rejects without NCCL."""
    return default_hooks.bf16_compress_hook(state, bucket)


TORCH = {"none": None, "fp16": default_hooks.fp16_compress_hook, "bf16": bf16}
PLAIN = "byteps"  # byteps_gc without compression
POWERSGD = re.compile(r"powersgd-([1-9]\d{0,2})")
# what docs/pytorch.md recommends
OPTIONS = {
    "onebit": {"scaling": True, "ef": "vanilla"},
    "topk": {"k": 0.01, "ef": "vanilla"},
    "randomk": {"k": 0.01, "ef": "vanilla"},
    "dithering": {"k": 1, "bucket": 128, "rounding": "nearest", "reply": "encoded", "ef": "vanilla"},  # ternary
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flag that chooses a hook; :func:`check` reads it."""
    ours = ", ".join(f"{name} ({shown(OPTIONS[name])})" if name in OPTIONS else name for name in compressors.known())
    parser.add_argument(
        "--hook",
        nargs="+",
        default=None,
        metavar=("HOOK", "OPTION=VALUE"),
        help="communication hook; of PyTorch: none (float32, the default), fp16, bf16, powersgd-RANK; of byteps_gc:"
        f" {PLAIN} (float32), {ours}; options are added to those in parentheses or replace them",
    )


def check(opt: argparse.Namespace) -> None:
    """Set ``opt.hook``, a name, and ``opt.compression``, the keywords of bps.ddp_hook, or None for PyTorch's hooks."""
    opt.hook, *words = opt.hook or ["none"]
    opt.compression = None
    if opt.hook in TORCH or POWERSGD.fullmatch(opt.hook):
        if words:
            raise UserError(f"--hook {opt.hook} takes no options, got {words[0]}")
        if opt.hook == "bf16" and torch.__version__ < (2, 3):
            raise UserError(f"--hook bf16 needs PyTorch 2.3 or newer: gloo has no bfloat16 in {torch.__version__}")
        return
    if opt.hook != PLAIN and opt.hook not in compressors.known():
        known = ", ".join([*TORCH, "powersgd-RANK", PLAIN, *compressors.known()])
        raise UserError(f"unknown hook {opt.hook!r}; known: {known}")
    params: Dict[str, Any] = {} if opt.hook == PLAIN else {"compressor": opt.hook, **OPTIONS.get(opt.hook, {})}
    params.update(map(parsed, words))
    Settings.from_params(params)  # checks them
    opt.compression = {name: value for name, value in params.items() if value is not None}


def parsed(word: str) -> Sequence[Any]:
    """Return name and value of NAME=VALUE; the value None removes an option."""
    name, equals, text = word.partition("=")
    if not name or not equals:
        raise UserError(f"option {word!r} of --hook is not NAME=VALUE, such as k=0.01")
    try:
        return name, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return name, text


def shown(options: Dict[str, Any]) -> str:
    """Return options as they are written after --hook."""
    return " ".join(f"{name}={value}" for name, value in options.items())


def described(opt: argparse.Namespace) -> Dict[str, Any]:
    """Return the hook as compression parameters, for a run's record."""
    if opt.compression is None:
        return {} if opt.hook == "none" else {"compressor": f"{opt.hook} hook"}
    return opt.compression if opt.compression else {"compressor": PLAIN}


def ddp_options(name: str) -> Dict[str, Any]:
    """Return keywords for DistributedDataParallel: one bucket with PowerSGD, of which a step has several all-reduces.

    With gloo, those of several buckets would overtake each other, differently on each worker.
    """
    return {"bucket_cap_mb": 1024} if POWERSGD.fullmatch(name) else {}


def register(model: torch.nn.parallel.DistributedDataParallel, name: str) -> None:
    """Register one of PyTorch's hooks. PowerSGD compresses from step 2, the earliest that PyTorch allows."""
    if POWERSGD.fullmatch(name):
        rank = int(POWERSGD.fullmatch(name)[1])
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    elif TORCH[name]:
        model.register_comm_hook(None, TORCH[name])
