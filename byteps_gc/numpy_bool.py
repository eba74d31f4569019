"""The name ``numpy.bool``, which MXNet 1.9 uses when it is imported: import this module first.

``byteps_gc.mxnet`` does so. On Python 3.12 only: no numpy that still has the name exists there, while the extras for
MXNet install one on older Pythons.
"""

import sys

if sys.version_info >= (3, 12):
    import numpy

    vars(numpy).setdefault("bool", numpy.bool_)
