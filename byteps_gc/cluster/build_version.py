"""The version of this package and of the installed engine, which all processes of a job compare."""

import importlib.util
import json
from pathlib import Path

from byteps_gc import __version__


def engine_build() -> str:
    """Return the hash of the sources of the installed engine's build; empty without one, or for stock BytePS."""
    found = importlib.util.find_spec("byteps")
    for folder in (found.submodule_search_locations or []) if found else []:
        file = Path(folder, "gc_build.json")
        if file.is_file():
            return json.loads(file.read_text())["sources"]
    return ""


def build_version() -> str:
    """Return byteps_gc's version and that of the engine's sources."""
    return f"{__version__} {engine_build()}".strip()
