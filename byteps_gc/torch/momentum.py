"""Nesterov momentum that is applied around the exchange, where the compressor gives a gradient none or only a part.

    not compressed:  M <- mu (M + g + wd x);  g <- g + M
    compressed:      W <- mu (W + wd x);      g <- g + W

A compressor adds the momentum of the gradient itself. The optimizer adds wd x, and applies g by plain gradient descent,
so all parameters follow SGD with Nesterov momentum (arXiv 1905.10936).
"""

from typing import Any, Dict, Sequence

from byteps_gc.errors import CompressionError
import torch


def take_over(optimizer: Any) -> Dict[int, float]:
    """Set an optimizer's momentum to 0, and return its coefficient for each parameter, by the parameter's id.

    :class:`CompressionError` for another optimizer than SGD with Nesterov momentum.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        kind = "none" if optimizer is None else type(optimizer).__name__
        raise CompressionError(f"momentum='nesterov' needs torch.optim.SGD as the optimizer, not {kind}")
    for group in optimizer.param_groups:
        if not group["nesterov"] or group["maximize"]:
            raise CompressionError(
                "momentum='nesterov' needs an optimizer with a momentum above 0, nesterov=True and maximize=False in"
                " all parameter groups"
            )
    coefficients = {}
    for group in optimizer.param_groups:
        coefficients.update({id(parameter): float(group["momentum"]) for parameter in group["params"]})
        group.update(momentum=0.0, nesterov=False)
    return coefficients


@torch.no_grad()
def apply(optimizer: torch.optim.Optimizer, gradients: Sequence[Any]) -> None:
    """Add momentum to the gradients that :meth:`step` will apply. gradients: of :class:`Gradient`."""
    if any(group["momentum"] for group in optimizer.param_groups):
        raise CompressionError(
            "the optimizer has a momentum again, set by a scheduler or a loaded state, while momentum='nesterov' adds"
            " it in front of the compressor; use cycle_momentum=False, or a state that was saved with the same settings"
        )
    decays = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    for one in gradients:
        parameter = one.parameter
        gradient, decay = parameter.grad, decays.get(id(parameter))
        if gradient is None or decay is None:
            continue
        own = torch.zeros_like(gradient) if one.route.with_momentum else gradient.clone()
        if decay:
            own.add_(parameter, alpha=decay)
        elif one.route.with_momentum and one.route.momentum is None:
            continue
        if one.route.momentum is None:
            one.route.momentum = torch.zeros_like(gradient)
        one.route.momentum.add_(own).mul_(one.mu)
        gradient.add_(one.route.momentum)
