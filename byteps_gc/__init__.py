"""Gradient compression for distributed training with BytePS and MXNet Gluon.

``import byteps_gc.mxnet as bps`` takes the place of ``import byteps.mxnet as
bps``; this package itself imports neither MXNet nor BytePS.
"""

__version__ = "0.1.0"
