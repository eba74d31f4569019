"""The gradients of a model, as its trainer exchanges them."""

import functools
import math
from typing import List, NamedTuple, Tuple

from byteps_gc.training.models import classifier

Shape = Tuple[int, ...]


class Model(NamedTuple):
    """A classifier of GluonCV's on images of ``pixels`` x ``pixels``, and how many bytes its gradients have."""

    name: str
    classes: int
    pixels: int
    gradients: int
    bytes: int


MODELS = {
    one.name: one
    for one in (
        Model("resnet18_v2", 100, 32, 58, 44904592),
        Model("resnet50_v2", 1000, 224, 155, 102197920),
        Model("vgg16", 1000, 224, 32, 553430176),
    )
}


@functools.lru_cache(maxsize=None)
def of(model: Model) -> List[Shape]:
    """Shapes of the model's gradients, in the trainer's order: that of the names of its parameters."""
    net = classifier("--model", model.name, model.classes, model.pixels)
    import mxnet as mx

    scores = net(mx.sym.var("data"))
    inferred, _, _ = scores.infer_shape(data=(1, 3, model.pixels, model.pixels))
    known = dict(zip(scores.list_arguments(), inferred))
    found = [known[name] for name, param in sorted(net.collect_params().items()) if param.grad_req != "null"]
    size = 4 * sum(map(math.prod, found))
    assert (len(found), size) == (model.gradients, model.bytes), f"{model.name} is another one"
    return found
