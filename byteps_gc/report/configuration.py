"""configuration.json, which ``reproduce`` writes to its folder: what all runs below have in common."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

NAME = "configuration.json"


def find(places: Sequence[Path]) -> List[Tuple[Path, Dict[str, Any]]]:
    """Return each configuration.json in some folders, with its content."""
    files = [place / NAME for place in places]
    return [(file, json.loads(file.read_text())) for file in files if file.is_file()]


def jobs(places: Sequence[Path]) -> List[str]:
    """Return the experiments' jobs in their order."""
    return [job for _, content in find(places) for job in content.get("configuration", {}).get("jobs", ())]
