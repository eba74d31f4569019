"""Experiments with several seeds, as ``reproduce.sh`` runs them."""
