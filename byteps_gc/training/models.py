"""GluonCV's classifiers, built and checked before a job starts."""

import contextlib
import io
from typing import Any

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
from byteps_gc.errors import UserError, one_line

FAILURES = (ValueError, TypeError, KeyError, AssertionError, OSError, RuntimeError)  # of building and loading
GROUPS = 32


def group_norm(in_channels: int = 0, **options: Any) -> Any:
    """MXNet's group normalization in 32 groups, to replace a BatchNorm; GluonCV's own cannot be hybridized.

    in_channels: taken from the input instead.
    """
    from mxnet.gluon import nn

    return nn.GroupNorm(num_groups=GROUPS, **options)


def classifier(flag: str, name: str, classes: int, size: int, pretrained: bool = False, **options: Any) -> Any:
    """A classifier of GluonCV's model zoo for colour images of ``size`` x ``size`` pixels.

    flag: what the user named it with, for messages; options: of the model.
    Without ``pretrained``, its parameters are not initialized. Raises
    :class:`UserError` for a model that does not exist or is no classifier, does
    not take the options, the size or the number of classes, or cannot be downloaded.
    """
    import gluoncv

    about = f"{flag} {name}"
    if name.lower() not in gluoncv.model_zoo.get_model_list():
        raise UserError(f"{about} is not a model of GluonCV")
    try:
        net = gluoncv.model_zoo.get_model(name, classes=classes, pretrained=pretrained, **options)
    except TypeError as error:
        raise UserError(f"{about} is not a classifier that takes these options: {error}") from None
    except FAILURES as error:
        raise UserError(f"{about}: {one_line(error)}") from None
    check_scores(net, about, classes, size)
    return net


def check_scores(net: Any, about: str, classes: int, size: int) -> None:
    """:class:`UserError` unless the net makes (1, classes) scores of an image of ``size`` x ``size`` pixels."""
    import mxnet as mx

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where MXNet prints the shapes that do not fit
            scores = net(mx.sym.var("data"))
            if not isinstance(scores, mx.sym.Symbol):
                raise UserError(f"{about} is not a classifier: it has {len(scores)} outputs")
            shape = scores.infer_shape(data=(1, 3, size, size))[1][0]
    except FAILURES as error:
        raise UserError(
            f"{about} does not fit {classes} classes and {size} x {size} pixels: {one_line(error)}"
        ) from None
    if shape != (1, classes):
        raise UserError(f"{about} is not a classifier of {classes} classes: its output for one image has shape {shape}")


def check_dtype(dtype: str, num_gpus: int) -> None:
    """:class:`UserError` for float16 on a CPU, where MXNet has no matrix product of it."""
    import mxnet as mx

    if dtype == "float16" and not (num_gpus and mx.context.num_gpus()):
        raise UserError("--dtype float16 needs a GPU, and this process has none")
