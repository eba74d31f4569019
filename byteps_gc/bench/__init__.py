"""Benchmarks of the compressors, a training step, the engine and whole exchanges, and a model of a step."""
