"""configuration.json, which ``reproduce`` writes to its folder: what all runs below have in common."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from byteps_gc.errors import UserError

NAME = "configuration.json"


def find(places: Sequence[Path]) -> List[Tuple[Path, Dict[str, Any]]]:
    """Return each configuration.json in some folders, with its content."""
    files = [place / NAME for place in places]
    return [(file, read(file)) for file in files if file.is_file()]


def read(file: Path) -> Dict[str, Any]:
    """Return the content of a configuration.json; :class:`UserError` if it is damaged."""
    try:
        content = json.loads(file.read_bytes())
        good = all(isinstance(content.get(name, {}), dict) for name in ("configuration", "environment"))
    except (ValueError, AttributeError, RecursionError):
        good = False
    if not good:
        raise UserError(f"{file} is damaged, or was not written by reproduce.sh")
    return content


def jobs(places: Sequence[Path]) -> List[str]:
    """Return the experiments' jobs in their order."""
    return [job for _, content in find(places) for job in content.get("configuration", {}).get("jobs", ())]
