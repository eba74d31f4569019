"""The compression flags that every training script has."""

import argparse
from typing import Any, Dict

from byteps_gc import compressors
from byteps_gc.errors import CompressionError
from byteps_gc.settings import WRAPPERS, Settings, option_names

FLAGS = {"scaling": "onebit_scaling", "momentum": "compress_momentum", "fp16": "fp16_pushpull"}


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser; :func:`compression` reads them back."""
    group = parser.add_argument_group("gradient compression")
    group.add_argument(
        "--compressor", help=f"compressor of the gradients: {', '.join(compressors.known())} (default: none)"
    )
    group.add_argument(
        "--k",
        type=number,
        help="number of elements to keep, or fraction if below 1 (topk, randomk); number of levels (dithering)",
    )
    group.add_argument("--ef", help=f"add error feedback: {', '.join(WRAPPERS['ef'])}")
    group.add_argument(
        "--compress-momentum", help=f"apply momentum inside the compressor: {', '.join(WRAPPERS['momentum'])}"
    )
    group.add_argument(
        "--onebit-scaling",
        action="store_true",
        default=None,
        help="scale the signs by the mean absolute value (onebit)",
    )
    group.add_argument("--normalize", help="norm that scales the levels (dithering): max or l2 (default: max)")
    group.add_argument("--partition", help="spacing of the levels (dithering): linear or natural (default: linear)")
    group.add_argument(
        "--bucket",
        type=int,
        help="number of elements that share a norm (dithering): 512 to 8192, or 0 for all (default: 0)",
    )
    group.add_argument("--half", action="store_true", default=None, help="send the compressor's values as float16")
    group.add_argument(
        "--seed", type=int, default=0, help="seed for weights, data order and random compressors (default: 0)"
    )
    group.add_argument(
        "--fp16-pushpull",
        action="store_true",
        default=None,
        help="send uncompressed gradients and sparse compressors' values as float16",
    )


def number(text: str) -> Any:
    """An int where the text is one, else a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


def compression(options: argparse.Namespace) -> Settings:
    """The settings that the flags ask for; :class:`CompressionError` for flags that do not go together."""
    params: Dict[str, Any] = {}
    for key in ("compressor", "ef", "momentum", "fp16", *option_names()):
        value = getattr(options, FLAGS.get(key, key))
        if value is not None:
            params[key] = value
    if not params.get("compressor"):
        foreign = [key for key in option_names() if key in params and key != "seed"]
        if foreign:
            raise CompressionError(f"{flag(foreign[0])} needs --compressor; known: {', '.join(compressors.known())}")
        params.pop("seed", None)
        return Settings.from_params(params)
    kind = compressors.find(params["compressor"])
    params = {key: value for key, value in params.items() if key != "seed" or key in kind.option_names()}
    for key in sorted(option_names().intersection(params).difference(kind.option_names())):
        raise CompressionError(
            f"{flag(key)} is not an option of {kind.name}; its options: {', '.join(map(flag, kind.option_names()))}"
        )
    return Settings.from_params(params)


def flag(key: str) -> str:
    """The flag that sets a key of the compression parameters."""
    return "--" + FLAGS.get(key, key).replace("_", "-")
