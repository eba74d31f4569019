"""Exchanges the gradients of a trainer's parameters: each by its route, and all of them together."""

from typing import Any, Callable, List, Sequence

from byteps_gc import native
from byteps_gc.compressors.settings import Settings
from byteps_gc.core import gradients
from byteps_gc.core.agreement import gather
from byteps_gc.core.routes import Factors, Route
from byteps_gc.errors import CompressionError, ExchangeError
from byteps_gc.mxnet import agreement
from byteps_gc.mxnet.exchange import classic, memory, push_pull, push_pull_again, scale
import mxnet as mx

LOOKED_AT = 200  # arrays that one operator sees


class StaleGradientError(ExchangeError, UserWarning):
    """A gradient that backward has not computed since the last step; a UserWarning, as in Gluon's trainer."""


class Gradients:
    """Sums the gradients of Gluon's parameters over all workers.

    mu: the coefficient of momentum in front of the compressor, or 0. skipped_steps: how many exchanges brought a value
    that is not finite; counted where compressors or momentum keep states.
    """

    def __init__(self, params: Sequence[Any], routes: Sequence[Route], settings: Settings, mu: float, scope: str):
        self.params = params
        self.routes = routes
        self.scope = scope
        self.settings = settings
        self.mu = mu
        self.keeps_states = bool(settings.compressor or settings.narrow() or mu)
        self.skipped_steps = 0

    def data(self, route: Route) -> "mx.nd.NDArray":
        """Return the parameter's array, which knows whether its gradient is fresh."""
        return self.params[route.index].list_data()[0]

    def active(self) -> List[Route]:
        """Return the routes of the parameters that have gradients."""
        return [route for route in self.routes if self.params[route.index].grad_req != "null"]

    def backward_since(self) -> bool:
        """Whether backward has computed a gradient on some worker since all were marked as stale."""
        fresh = any(self.data(route)._fresh_grad for route in self.active())
        return bool(gather([fresh], f"{self.scope}backward")[1].any())

    def choose(self, ignore_stale_grad: bool, dropped: Sequence[Route]) -> List[Route]:
        """Return the routes whose gradients are to be exchanged: with ``ignore_stale_grad``, those fresh on any worker.

        dropped: what has been exchanged and is not going to be applied; it is fresh, and taken back from compressors.
        """
        active = self.active()
        for route in active:
            route.own = route.fresh = self.data(route)._fresh_grad
        for route in dropped:
            if route.with_momentum and not route.own:
                raise CompressionError(
                    f"{self.params[route.index].name}: allreduce_grads() has already added the momentum inside the"
                    " compressor; call update(), or run backward, before the next exchange"
                )
            route.own = route.fresh = route.skipped = True
        if not ignore_stale_grad:
            self.reject_stale()
            return active
        is_active = [self.params[route.index].grad_req != "null" for route in self.routes]
        is_fresh = [route.fresh and one for route, one in zip(self.routes, is_active)]
        names = [param.name for param in self.params]
        anywhere = agreement.fresh_anywhere(is_fresh, is_active, names, f"{self.scope}fresh")
        return [route for route, one in zip(self.routes, anywhere) if one]

    def reject_stale(self) -> None:
        """:class:`StaleGradientError` if this worker's backward has not computed one of the gradients."""
        for route in self.active():
            if not route.own:
                raise StaleGradientError(
                    f"the gradient of {self.params[route.index].name} has not been computed by backward since the last"
                    " step; pass ignore_stale_grad=True to leave such parameters unchanged"
                )

    def exchange(self, fresh: List[Route], rate: float, factors: Callable[[bool], Factors]) -> bool:
        """Replace the gradients of these routes by their sum, multiplied as ``factors(route.encoded)`` says.

        rate: the learning rate of the step. Returns False for a step that all workers have to skip. Without states it
        does not wait for anything, and returns True.
        """
        chosen = []
        for route in fresh:
            self.declare(route)
            chosen.append(factors(route.encoded))
            self._send(route, rate * self.params[route.index].lr_mult, chosen[-1])
        good = not self.keeps_states or self._finite(fresh)
        for route, one in zip(fresh, chosen):
            receive(route, one.after)
            route.skipped = not good
        return good

    def declare(self, route: Route) -> None:
        """Decide once how a gradient travels, and declare it."""
        gradient, param = self.params[route.index].list_grad()[0], self.params[route.index]
        gradients.declare(route, self.settings, self.mu, gradient.size, gradient.dtype, param.name)

    def _send(self, route: Route, rate: float, factors: Factors) -> None:
        """Begin the exchange of one gradient; one that is not fresh on this worker contributes zeros."""
        gradient = self.params[route.index].list_grad()[0]
        if route.source is not gradient:
            route.source, route.array, route.exchanged = gradient, classic(gradient), False
        if not route.fresh:
            route.array[:] = 0
        route.total = route.array.astype(route.dtype, copy=False)
        if factors.before != 1.0:
            scale(route.total, factors.before)
        route.begin(rate, factors.compressor)
        if route.exchanged:
            push_pull_again(route.total, route.gradient, -route.index)
        else:
            push_pull(route.total, priority=-route.index, name=route.gradient, is_average=False)
            route.exchanged = route.total is route.array

    def _finite(self, fresh: List[Route]) -> bool:
        """Return whether all sums are finite, which is the same on all workers; a step that is not is counted."""
        for route in fresh:
            route.total.wait_to_read()
        finite = gradients.all_good(fresh, all_finite)
        if not finite:
            self.skipped_steps += 1
            gradients.warn_of_skipped(self.skipped_steps, stacklevel=5)
        return finite


def receive(route: Route, factor: float) -> None:
    """Write the sum that has arrived, multiplied by ``factor``, into the gradient."""
    if factor != 1.0:
        route.total *= factor
    if route.total is not route.array:
        route.array[:] = route.total.astype(route.array.dtype, copy=False)
    route.total = None


def digest(route: Route) -> int:
    """Return a checksum of the gradient."""
    return native.checksum(memory(route.array))


def all_finite(arrays: Sequence["mx.nd.NDArray"]) -> bool:
    """Whether no value in any of the arrays is infinite or not a number."""
    found = []
    for dtype in {array.dtype for array in arrays}:
        alike = [array for array in arrays if array.dtype == dtype]
        parts = [alike[at : at + LOOKED_AT] for at in range(0, len(alike), LOOKED_AT)]
        found += [mx.nd.multi_all_finite(*part, num_arrays=len(part)) for part in parts]
    return all(bool(one.asscalar()) for one in found)
