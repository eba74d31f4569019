"""Hooks that run before an optimizer's step, with every PyTorch."""

from typing import Any, Callable

import torch
from torch.optim import Optimizer

Hook = Callable[[Optimizer, Any, Any], None]
DROPS_HOOKS = torch.__version__ < (2, 3)  # in torch.compile


def add(optimizer: Optimizer, hook: Hook) -> None:
    """Have an optimizer call ``hook(optimizer, arguments, options)`` before each step, also after torch.compile."""
    optimizer.register_step_pre_hook(hook)
    if DROPS_HOOKS:
        _keep(type(optimizer))


def _keep(kind: Any) -> None:
    """Have a class of optimizers keep the step that calls hooks.

    torch.compile of PyTorch before 2.3 replaces that step by the one that it wraps, which calls no hooks.
    """
    calling = Optimizer.profile_hook_step(kind.step)
    if kind.step.__code__ is not calling.__code__:
        kind.step = calling
    vars(kind.step).pop("__wrapped__", None)
    kind.step.hooked = True
