"""What a run reports: a record of its progress, the guide's table and a plot.

:mod:`~byteps_gc.report.record` is the file that a training script writes,
:mod:`~byteps_gc.report.table` and :mod:`~byteps_gc.report.plot` read it.
"""
