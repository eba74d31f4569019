"""``python -m byteps_gc doctor``: list what is installed, and what is missing for training."""
