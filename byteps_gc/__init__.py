"""Gradient compression for distributed training with BytePS and MXNet Gluon.

``import byteps_gc.mxnet as bps`` takes the place of ``import byteps.mxnet as
bps``; this package itself imports neither MXNet nor BytePS.
"""

import contextlib
import sys

__version__ = "0.1.0"

if sys.version_info >= (3, 12):
    # MXNet 1.9 names numpy.bool when it is imported. The numpy versions that
    # exist for Python 3.12 have no such name, or (from 2.0) have just this one.
    with contextlib.suppress(ImportError):
        import numpy

        vars(numpy).setdefault("bool", numpy.bool_)
