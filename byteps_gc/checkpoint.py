"""Checkpoints: rank 0 writes them, and on resuming gives every worker what it read.

MXNet is imported only where a checkpoint is loaded, so that flags can be checked without it.
"""

import json
from pathlib import Path
import tempfile
from typing import Any, Dict, Mapping

from byteps_gc.errors import UserError, one_line

SUFFIXES = (".params", ".states", ".json")


def check(stem: str) -> Path:
    """The path of a checkpoint without its ending; :class:`UserError` if a file of it is missing.

    ``stem`` may be given with the ending ``.params``.
    """
    path = Path(stem)
    path = path.with_suffix("") if path.suffix in SUFFIXES else path
    for suffix in SUFFIXES:
        if not Path(f"{path}{suffix}").is_file():
            raise UserError(f"no checkpoint {path}: the file {path}{suffix} is missing")
    return path


def save(path: Path, net: Any, trainer: Any, progress: Dict[str, Any]) -> None:
    """Write a Gluon block and its DistributedTrainer to ``path``.params, .states and .json (``progress``).

    Each file appears in one step.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        whole = Path(folder, "checkpoint")
        net.save_parameters(f"{whole}.params")
        trainer.save_states(f"{whole}.states")
        Path(f"{whole}.json").write_text(json.dumps(progress) + "\n")
        for suffix in SUFFIXES:
            Path(f"{whole}{suffix}").replace(f"{path}{suffix}")


def resume(stem: str, net: Any, trainer: Any, context: Any) -> Dict[str, Any]:
    """Load on every worker what rank 0 reads at ``stem`` (see :func:`check`); returns the progress that was saved.

    The other workers need not have the files. All workers call it.
    """
    import byteps_gc.mxnet as bps

    path = check(stem) if bps.rank() == 0 else None
    return load({suffix: Path(f"{path}{suffix}") for suffix in SUFFIXES if path}, net, trainer, context)


def load(files: Mapping[str, Path], net: Any, trainer: Any, context: Any) -> Dict[str, Any]:
    """Load on every worker the parameters, and the states and the progress if there are, that rank 0 reads.

    files: paths by ending (``SUFFIXES``); of interest on rank 0 alone. Returns
    the progress, {} without one. Raises :class:`UserError` for what is not of
    this net. All workers call it.
    """
    from byteps_gc import exchange

    with tempfile.TemporaryDirectory(prefix="byteps_gc-resume-") as folder:
        for suffix in SUFFIXES:
            content = files[suffix].read_bytes() if suffix in files else None
            Path(folder, f"checkpoint{suffix}").write_bytes(exchange.broadcast_bytes(content, f"resume{suffix}"))
        whole = Path(folder, "checkpoint")
        try:
            net.load_parameters(f"{whole}.params", ctx=context)
            if Path(f"{whole}.states").stat().st_size:
                trainer.load_states(f"{whole}.states")
            return json.loads(Path(f"{whole}.json").read_text() or "{}")
        except (AssertionError, ValueError, RuntimeError) as error:
            text = one_line(error).replace(str(whole), "it")
            raise UserError(f"the checkpoint {files.get('.params', '')} cannot be loaded: {text}") from None
