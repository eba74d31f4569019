"""Gradient compression for distributed training with BytePS.

``import byteps_gc.mxnet as bps`` replaces ``import byteps.mxnet as bps``; ``byteps_gc.numpy`` needs no framework. This
package itself imports neither MXNet nor BytePS.
"""

__version__ = "0.1.0"
