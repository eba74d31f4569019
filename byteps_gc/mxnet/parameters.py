"""The parameters of a trainer, which all workers share: compared before the first exchange, and checked later."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from byteps_gc.core import session
from byteps_gc.core.routes import Route, in_order
from byteps_gc.errors import ExchangeError
from byteps_gc.mxnet import agreement
from byteps_gc.mxnet.broadcast import replace_by_root
from byteps_gc.mxnet.exchange import classic
import mxnet as mx


def checked(params: Union[Mapping[str, Any], Sequence[Any]]) -> List[Any]:
    """Return Gluon's parameters in the order in which all workers have them.

    Those of a dict are sorted by name, with numbers as numbers. :class:`ExchangeError` for what cannot be trained:
    several devices, sparse arrays, a parameter that is given twice.
    """
    if hasattr(params, "keys"):  # a dict or a ParameterDict
        params = [params[name] for name in in_order(list(params.keys()))]
    if not isinstance(params, (list, tuple)) or not all(isinstance(one, mx.gluon.Parameter) for one in params):
        raise ExchangeError("params is not a list or dict of Gluon Parameters; pass net.collect_params()")
    if not params:
        raise ExchangeError("params is empty: there is nothing to train")
    for param in params:
        if param._data is None and not param._deferred_init:
            raise ExchangeError(f"{param.name} has not been initialized: call net.initialize() first")
        if len(param.list_ctx()) != 1 or param.list_ctx() != params[0].list_ctx():
            devices = ", ".join(map(str, param.list_ctx()))
            raise ExchangeError(f"{param.name} is on {devices}; put all parameters of a worker process on one device")
        if (param._stype, param._grad_stype) != ("default", "default"):
            raise ExchangeError(f"{param.name} or its gradient is sparse; only dense arrays can be exchanged")
    if len({id(param) for param in params}) < len(params):
        raise ExchangeError("params contains the same parameter twice")
    return list(params)


class Parameters:
    """Compares, shares and checks parameters. All workers call the same methods in the same order.

    root_rank: the worker whose initial values all get; scope: prefix of tensors' names.
    """

    def __init__(self, params: Sequence[Any], routes: Sequence[Route], root_rank: int, scope: str):
        self.params = params
        self.routes = routes
        self.root_rank = root_rank
        self.scope = scope
        # indices of the parameters that not all workers have yet; None before the comparison
        self.missing: Optional[List[int]] = None

    def start(self, settings: Dict[str, Any]) -> None:
        """Compare what the workers train, once, and share the parameters that some worker has used since.

        settings: what else has to be the same. :class:`ExchangeError` on all workers if something is not. The engine
        numbers tensors as they are declared, so nothing of this trainer is declared before its structure is compared.
        """
        identical = False
        if self.missing is None:
            identical = agreement.same_structure(self.params, settings, f"{self.scope}structure")
            self.missing = [route.index for route in self.routes]
        if self.missing:
            self.missing = self._share(self.missing, identical)

    def require_shapes(self) -> None:
        """:class:`ExchangeError` if no worker knows the shape of a parameter that is to be trained."""
        for param in (self.params[index] for index in self.missing or []):
            if param.grad_req != "null":
                raise ExchangeError(f"{param.name} has no shape yet: no worker has used it in a forward pass")

    def _share(self, wanted: List[int], identical: bool) -> List[int]:
        """Give all workers the root's values, or those of the first that has some; returns what none has."""
        params = [self.params[index] for index in wanted]
        known = agreement.initialized(params, identical, f"{self.scope}initialized")
        for index, param, ranks in zip(wanted, params, known.T):
            if ranks.any():
                root = self.root_rank if ranks[self.root_rank] else int(ranks.argmax())
                replace_by_root(param.list_data()[0], self.routes[index].parameter, root)
        return [index for index, ranks in zip(wanted, known.T) if not ranks.any()]

    def check(self, step: int) -> None:
        """:class:`ExchangeError` on all workers unless all have the same parameters, bit for bit, after a step.

        Batch normalization's running averages are each worker's own.
        """
        params = [param for param in self.params if param._data is not None and param._differentiable]
        if session.size() > 1:
            arrays = [classic(param.list_data()[0]) for param in params]
            agreement.same_parameters(arrays, [param.name for param in params], step, f"{self.scope}checksum")
