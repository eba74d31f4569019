"""What the training scripts share: their flags, the schedule, this process's part of the job, the loop.

:mod:`~byteps_gc.training.flags` needs no framework, so that flags can be checked
before MXNet is imported.
"""
