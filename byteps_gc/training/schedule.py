"""The learning rate of every step of a run."""

from typing import Any, Sequence


def schedule(
    epochs: int,
    batches: int,
    rate: float,
    warmup_epochs: int = 0,
    warmup_rate: float = 0.0,
    mode: str = "step",
    decay: float = 0.1,
    decay_epochs: Sequence[int] = (),
) -> Any:
    """MXNet's kind of scheduler: from ``warmup_rate`` to ``rate`` in a straight line, then down in some way.

    epochs: of the whole run; batches: steps of an epoch; mode: "step" multiplies
    by ``decay`` at each of ``decay_epochs``, which count from the start of the
    run; "poly" falls to 0 with the square of what is left, "cosine" along half a wave.
    """
    from gluoncv.utils import LRScheduler, LRSequential

    warmup = min(warmup_epochs, epochs)
    if warmup * batches == 1:  # a single step has no way to go
        warmup = 0
    parts = []
    if warmup:
        parts.append(
            LRScheduler("linear", base_lr=warmup_rate, target_lr=rate, nepochs=warmup, iters_per_epoch=batches)
        )
    if epochs > warmup:
        parts.append(
            LRScheduler(
                mode if (epochs - warmup) * batches > 1 else "constant",
                base_lr=rate,
                target_lr=0,
                nepochs=epochs - warmup,
                iters_per_epoch=batches,
                step_epoch=[epoch - warmup for epoch in decay_epochs if warmup < epoch < epochs],
                step_factor=decay,
            )
        )
    return LRSequential(parts)
