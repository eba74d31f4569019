"""Checkpoints: rank 0 writes them, and on resuming gives every worker what it read.

A checkpoint is three files of one name: NAME.params, NAME.states and NAME.json, its progress. They are
written to the end elsewhere; then an older NAME.json goes, the two others get their names, and NAME.json
gets its own last, each step on the disk before the next. So as long as there is a NAME.json, the other two
are whole and of the same epoch, whatever ends the process or the machine, and no step touches another name:
before ``epoch-8`` is whole, ``epoch-7`` stays. Between the steps NAME is no checkpoint, never a mixture of two.

NAME.json holds the SHA-256 of each of the three, of itself without that entry. They are of what was to be written, not
of what the disk returns, and whoever loads a checkpoint compares them first.

MXNet is imported only where a checkpoint is loaded, so that flags can be checked without it.
"""

import contextlib
import json
import os
from pathlib import Path
import re
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, Mapping, Optional

from byteps_gc.checkpoint_files import file_hashes
from byteps_gc.errors import UserError, one_line, reported

SUFFIXES = (".params", ".states", ".json")
SAVING = ".saving-"  # folders of files that are being written
# of loading a file of something else
FAILURES = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def find(stem: str) -> Path:
    """The path of a checkpoint without its ending; :class:`UserError` if a file of it is missing.

    ``stem`` may be given with the ending ``.params``.
    """
    path = Path(stem)
    path = path.with_suffix("") if path.suffix in SUFFIXES else path
    for suffix in SUFFIXES:
        if not os.path.isfile(f"{path}{suffix}"):
            lost = f"; {file_hashes.advice(Path(f'{path}.json'))}" if os.path.isfile(f"{path}.json") else ""
            raise UserError(f"no checkpoint {path}: the file {path}{suffix} is missing{lost}")
    return path


def check(stem: str) -> Path:
    """Like :func:`find`; :class:`UserError` also for a file that is damaged."""
    path, checker = find(stem), file_hashes.FileChecker()
    for suffix in SUFFIXES:
        checker.check(Path(f"{path}{suffix}"), suffix)
    return path


def of_epochs(folder: Path) -> List[int]:
    """How many epochs were done when each checkpoint ``epoch-N`` of a folder was written, in order.

    One of which a file has been lost or damaged is among them, so that it is noticed: see :func:`check`.
    """
    found = (re.fullmatch(r"epoch-(\d+)\.json", file.name) for file in folder.glob("epoch-*.json"))
    return sorted(int(match[1]) for match in found if match)


def newest(folder: Path) -> Optional[Path]:
    """The checkpoint ``epoch-N`` of the most epochs in a folder, without its ending; None if there is none."""
    numbers = of_epochs(folder)
    return folder / f"epoch-{numbers[-1]}" if numbers else None


def progress_of(path: Path) -> Dict[str, Any]:
    """The progress that a checkpoint holds; {} if it is not whole."""
    try:
        return file_hashes.read_progress(Path(f"{find(str(path))}.json"))
    except UserError:
        return {}


def save(path: Path, net: Any, trainer: Any, progress: Dict[str, Any]) -> None:
    """Write a Gluon block and its DistributedTrainer to ``path``.params, .states and .json (``progress``).

    :class:`UserError` if that is not possible; an older checkpoint at ``path`` stays then.
    """
    with replacing(path) as whole:
        writers = {".params": net.save_parameters, ".states": trainer.save_states}
        found = {suffix: file_hashes.written(Path(f"{whole}{suffix}"), write) for suffix, write in writers.items()}
        Path(f"{whole}.json").write_text(file_hashes.rendered(progress, found))


def copy(source: Path, path: Path) -> None:
    """Have a whole checkpoint under a second name; the disk holds it once, where the file system has links."""
    with replacing(path) as whole:
        for suffix in SUFFIXES:
            try:
                os.link(f"{source}{suffix}", f"{whole}{suffix}")
            except OSError:
                shutil.copyfile(f"{source}{suffix}", f"{whole}{suffix}")


def prune(folder: Path, last: int, period: int) -> None:
    """Take away the checkpoints ``epoch-N`` before the ``last`` but for every ``period``-th, and what is left of such.

    The .json goes first: a checkpoint that is there is whole here as well.
    """
    for suffix in reversed(SUFFIXES):
        for file in folder.glob(f"epoch-*{suffix}"):
            number = file.name[len("epoch-") : -len(suffix)]
            if number.isdigit() and int(number) < last and int(number) % period:
                with reported(f"remove checkpoint {file}"):
                    file.unlink()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The body writes a checkpoint to the path that it is given, and it is at ``path`` from then on.

    :class:`UserError` if that is not possible.
    """
    with reported(f"write checkpoint {path}"), contextlib.ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{SAVING}*"):  # by a process that was killed
            shutil.rmtree(str(left), ignore_errors=True)
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=str(path.parent), prefix=SAVING))
        whole = Path(folder, "checkpoint")
        yield whole
        for suffix in SUFFIXES:
            keep(Path(f"{whole}{suffix}"))
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}.json").unlink()
            keep(path.parent)
        for suffix in SUFFIXES:
            Path(f"{whole}{suffix}").replace(f"{path}{suffix}")
            keep(path.parent)


def keep(path: Path) -> None:
    """Have what a file or folder holds by now on the disk; some network file systems cannot do that with a folder."""
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def resume(stem: str, net: Any, trainer: Any, context: Any) -> Dict[str, Any]:
    """Load on every worker what rank 0 reads at ``stem`` (see :func:`find`); returns the progress that was saved.

    The other workers need not have the files. All workers call it.
    """
    import byteps_gc.mxnet as bps

    path = find(stem) if bps.rank() == 0 else None
    return load({suffix: Path(f"{path}{suffix}") for suffix in SUFFIXES if path}, net, trainer, context)


def load(files: Mapping[str, Path], net: Any, trainer: Any, context: Any) -> Dict[str, Any]:
    """Load on every worker the parameters, and the states and the progress if there are, that rank 0 reads.

    files: paths by suffix (``SUFFIXES``), on rank 0, which checks each file before broadcasting it.
    Returns the progress, {} without one. Raises :class:`UserError` for a file that is damaged, or not of this net.
    All workers call it.
    """
    from byteps_gc.core.broadcast import broadcast_bytes

    name, checker = files.get(".params", "of rank 0"), file_hashes.FileChecker()
    with tempfile.TemporaryDirectory(prefix="byteps_gc-resume-") as folder:
        try:
            for suffix in SUFFIXES:
                content = checker.read(files[suffix], suffix) if suffix in files else None
                Path(folder, f"checkpoint{suffix}").write_bytes(broadcast_bytes(content, f"resume{suffix}"))
            whole = Path(folder, "checkpoint")
            net.load_parameters(f"{whole}.params", ctx=context)
            if Path(f"{whole}.states").stat().st_size:
                trainer.load_states(f"{whole}.states")
            trainer.broadcast_parameters()
            progress: Dict[str, Any] = json.loads(Path(f"{whole}.json").read_text() or "{}")
        except OSError as error:
            raise UserError(f"cannot load checkpoint {name}: {error.filename or folder}: {error.strerror}") from None
        except FAILURES as error:
            text = one_line(error).replace(f"{folder}/", "")
            raise UserError(f"cannot load checkpoint {name}: {text}") from None
    progress.pop(file_hashes.KEY, None)
    return progress
