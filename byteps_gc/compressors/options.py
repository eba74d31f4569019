"""A partition's options as texts: what both sides register, and what a frame's digest covers."""

from typing import Any, Dict, Optional

VERSION = 1  # of frames and options


def spell(value: Any) -> str:
    """One value as text: true and false, integers and words as they are, floats so that they read back equal."""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def option_texts(compressor: Any, mu: Optional[float], ef: bool) -> Dict[str, str]:
    """The options of a compressor and of what wraps it (docs/wire_format.md, "Frame")."""
    texts = {"codec": compressor.name, "version": str(VERSION)}
    texts.update({name: spell(value) for name, value in compressor.sent_options().items()})
    if ef:
        texts["ef"] = "vanilla"
    if mu is not None:
        texts["mu"] = repr(float(mu))
    return texts
