"""Checks on import that PyTorch is new enough."""

import torch

OLDEST = "2.1"

if torch.__version__ < OLDEST:
    raise ImportError(f"byteps_gc.torch needs PyTorch {OLDEST} or newer, not {torch.__version__}")
