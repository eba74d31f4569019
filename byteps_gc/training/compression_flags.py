"""The compression flags that every training script has: those of the compressors follow from their options."""

import argparse
import dataclasses
from typing import Any, Dict, Iterator, List, Mapping, Tuple

from byteps_gc import compressors
from byteps_gc.compressors.settings import WRAPPERS, Settings, option_names
from byteps_gc.errors import CompressionError

FLAGS = {
    "compressor": "compressor",
    "ef": "ef",
    "momentum": "compress-momentum",
    "fp16": "fp16-pushpull",
    "bf16": "bf16-pushpull",
}
SEED = "seed"  # a flag of every script, which random compressors use, too


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser; :func:`compression` reads them back."""
    group = parser.add_argument_group("gradient compression")
    group.add_argument(
        "--compressor", help=f"compressor of the gradients: {', '.join(compressors.known())} (default: none)"
    )
    for name, fields in compressors.option_fields().items():
        if name != SEED:
            group.add_argument(flag(name), **reader(fields), help="; ".join(meanings(fields)))
    group.add_argument("--ef", help=f"add error feedback: {', '.join(WRAPPERS['ef'])}")
    group.add_argument(
        "--compress-momentum", help=f"apply momentum inside the compressor: {', '.join(WRAPPERS['momentum'])}"
    )
    group.add_argument(
        "--seed", type=int, default=0, help="seed for weights, data order and random compressors (default: 0)"
    )
    for name, dtype in (("fp16", "float16"), ("bf16", "bfloat16")):
        group.add_argument(
            f"--{FLAGS[name]}",
            action="store_true",
            default=None,
            help=f"send uncompressed gradients and sparse compressors' values as {dtype}",
        )


def reader(fields: Mapping[str, dataclasses.Field]) -> Dict[str, Any]:
    """Return how a parser reads the flag of an option, which compressors may declare as integer or as number."""
    kinds = {field.metadata["kind"] for field in fields.values()}
    if kinds == {bool}:
        return {"action": "store_true", "default": None}
    return {"type": {int: int, str: str}[kinds.pop()] if len(kinds) == 1 and float not in kinds else number}


def meanings(fields: Mapping[str, dataclasses.Field]) -> Iterator[str]:
    """Yield what an option means, each meaning with the compressors that have it."""
    owners: Dict[Tuple[str, str], List[str]] = {}
    for name, field in fields.items():
        choices = ": " + " or ".join(field.metadata["choices"]) if field.metadata["choices"] else ""
        given = "" if any(field.default is no for no in (dataclasses.MISSING, False)) else f"; default: {field.default}"
        owners.setdefault((field.metadata["help"] + choices, given), []).append(name)
    for (text, given), names in owners.items():
        yield f"{text} ({', '.join(names)}{given})".replace("%", "%%")


def number(text: str) -> Any:
    """An int where the text is one, else a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def compression(options: argparse.Namespace) -> Settings:
    """The settings that the flags ask for; :class:`CompressionError` for flags that do not go together."""
    params: Dict[str, Any] = {}
    for key in (*FLAGS, *sorted(option_names())):
        value = getattr(options, flag(key)[2:].replace("-", "_"))
        if value is not None:
            params[key] = value
    if not params.get("compressor"):
        foreign = [key for key in sorted(option_names()) if key in params and key != SEED]
        if foreign:
            raise CompressionError(f"{flag(foreign[0])} needs --compressor; known: {', '.join(compressors.known())}")
        params.pop(SEED, None)
        return Settings.from_params(params)
    kind = compressors.find(params["compressor"])
    params = {key: value for key, value in params.items() if key != SEED or key in kind.option_names()}
    for key in sorted(option_names().intersection(params).difference(kind.option_names())):
        raise CompressionError(
            f"{flag(key)} is not an option of {kind.name}; its options: {', '.join(map(flag, kind.option_names()))}"
        )
    return Settings.from_params(params)


def flag(key: str) -> str:
    """Return the flag that sets a key of the compression parameters."""
    if key in FLAGS:
        return f"--{FLAGS[key]}"
    return f"--{compressors.flag(next(iter(compressors.option_fields()[key].values())))}"
