"""How settings are spelled to the engine: the keys that travel to workers' and servers' registries."""

from typing import Dict, Optional

from byteps_gc.settings import Settings

_KEYS = {
    "k": "byteps_compressor_k",
    "scaling": "byteps_compressor_onebit_scaling",
    "seed": "byteps_seed",
    "partition": "byteps_dithering_partition",
    "normalize": "byteps_dithering_normalize",
}
_WORDS = {"linear": "0", "natural": "1", "max": "0", "l2": "1", True: "true", False: "false"}


def spell(value) -> str:
    """One option's value as the engine's registry reads it."""
    if isinstance(value, (str, bool)):
        return _WORDS[value]
    return repr(value)


def engine_options(settings: Settings, momentum: Optional[float]) -> Dict[str, str]:
    """What a compressed tensor is declared with; empty without a compressor.

    ``momentum`` is the optimizer's momentum coefficient, sent where the settings
    put momentum in front of the compressor. A seed of 0 is not sent: the engine
    then draws one.
    """
    if settings.compressor is None:
        return {}
    words = {"byteps_compressor_type": settings.compressor.name}
    for name, value in settings.compressor.options().items():
        if not (name == "seed" and value == 0):
            words[_KEYS[name]] = spell(value)
    if settings.ef:
        words["byteps_ef_type"] = settings.ef
    if settings.momentum:
        words["byteps_momentum_type"] = settings.momentum
        words["byteps_momentum_mu"] = repr(float(momentum))
    return words
