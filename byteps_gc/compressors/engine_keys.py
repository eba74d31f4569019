"""How settings are spelled to the engine: the keys that travel to workers' and servers' registries."""

import dataclasses
from typing import Dict, Optional

from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.options import option_texts
from byteps_gc.compressors.settings import Settings

REGISTERED = "byteps_gc"  # the name of all our compressors in BytePS's registry


def engine_options(settings: Settings, momentum: Optional[float], tensor: str, compressed: bool) -> Dict[str, str]:
    """What a tensor is declared with; empty if it travels as it is.

    ``momentum`` is the optimizer's momentum coefficient, sent where the settings
    put momentum in front of the compressor; ``compressed`` says whether the
    compressor is for this tensor: what is left travels as float16 with
    ``fp16`` and as bfloat16 with ``bf16``, and a compressor's own values then do, too.
    """
    compressor, wrapped = settings.compressor, True
    if not compressed or compressor is None:
        if not settings.narrow():
            return {}
        compressor, wrapped = Identity(**{settings.narrow(): True}), False
    elif settings.narrow() in compressor.option_names():
        compressor = dataclasses.replace(compressor, **{settings.narrow(): True})
    mu = momentum if wrapped and settings.momentum else None
    texts = option_texts(compressor, mu, ef=bool(wrapped and settings.ef))
    texts.update(compressor_type=REGISTERED, tensor=tensor)
    return {f"byteps_{key}": text for key, text in texts.items()}
