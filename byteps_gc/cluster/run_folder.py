"""The folder of a run on this host, and what is left to do in one that goes on.

A run's folder holds a folder for each of its jobs, from its start. The host that has worker 0
has the records and the checkpoints there as well, and so it can tell how far each job is.
"""

import contextlib
import fcntl
import os
from pathlib import Path
import time
from typing import Iterator, List, Sequence, Tuple

from byteps_gc import env
from byteps_gc.errors import SettingsError, UserError
from byteps_gc.report import configuration, record
from byteps_gc.training import checkpoint

CONFIGURATION = configuration.NAME  # what all runs in a folder of reproduce.sh have in common
DIGITS = "[0-9]"
TIME = f"{DIGITS * 8}-{DIGITS * 6}"  # of a run's start, in its folder's name

Task = Tuple[str, str]  # a job, and the checkpoint that it continues from, without its ending; empty: its beginning


def new(name: str) -> Path:
    """Make and name the folder of a run: BYTEPS_GC_RUN_DIR, or one in ``runs`` in the current folder."""
    folder = Path(env.text("BYTEPS_GC_RUN_DIR") or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    print(f"run folder: {folder}", flush=True)
    return folder


def record_of(folder: Path, job: str) -> Path:
    """The record of a run's job."""
    return record.beside(str(folder / job / job))


def last_checkpoint(folder: Path, job: str) -> str:
    """The newest checkpoint of a run's job, without its ending; empty if there is none."""
    return str(checkpoint.newest(folder / job / "params") or "")


def finished(folder: Path, job: str) -> bool:
    """Whether a run's job has come to its end."""
    return record.read(record_of(folder, job)).finished


def existing(name: str) -> List[Path]:
    """The folders of an experiment's runs, the newest first: BYTEPS_GC_RUN_DIR alone, or those in ``runs``."""
    if env.text("BYTEPS_GC_RUN_DIR"):
        return [Path(env.text("BYTEPS_GC_RUN_DIR")).absolute()]
    return sorted(Path("runs").absolute().glob(f"{name}-{TIME}"), reverse=True)


def to_resume(name: str, jobs: Sequence[str], begin: bool = False) -> Path:
    """The folder of the run to go on with, where worker 0 is; :class:`SettingsError` if there is none.

    It is BYTEPS_GC_RUN_DIR, which with ``begin`` may have none of the jobs, or the newest that has one unfinished.
    """
    given, wanted = env.text("BYTEPS_GC_RUN_DIR"), ", ".join(jobs)
    for folder in existing(name):
        begun = [job for job in jobs if (folder / job).is_dir()]
        if begin or begun and (given or not all(finished(folder, job) for job in begun)):
            return folder
    if given:
        raise SettingsError(f"nothing to resume: the folder {given} holds no job {wanted}")
    raise SettingsError(
        f"nothing to resume: no run {Path('runs').absolute() / name}-TIME holds an unfinished job of {wanted};"
        " set BYTEPS_GC_RUN_DIR to the run's folder"
    )


def elsewhere(name: str, jobs: Sequence[str]) -> Path:
    """The folder of a run that goes on, where worker 0 is not: the newest that has one of the jobs, or a new one."""
    for folder in existing(name):
        if any((folder / job).is_dir() for job in jobs):
            print(f"run folder: {folder}", flush=True)
            return folder
    return new(name)


def left(folder: Path, jobs: Sequence[str]) -> List[Task]:
    """What is left to do of the jobs in the folder of a run that goes on; a line is printed about each of them."""
    print(f"run folder: {folder}", flush=True)
    tasks = []
    for job in dict.fromkeys(jobs):
        stem = last_checkpoint(folder, job)
        if finished(folder, job):
            print(f"{job}: finished, nothing to do", flush=True)
            continue
        why = "not started" if not (folder / job).is_dir() else "no checkpoint"
        print(f"{job}: continues from {stem}" if stem else f"{job}: {why}, starts from the first epoch", flush=True)
        tasks.append((job, stem))
    return tasks


@contextlib.contextmanager
def of_jobs(folder: Path, tasks: Sequence[Task], resume: bool) -> Iterator[None]:
    """Make the jobs' folders and have them alone; :class:`UserError` for one that exists and is not resumed."""
    for job, _ in tasks:
        if (folder / job).exists() and not resume:
            raise UserError(f"{folder / job} already exists; set BYTEPS_GC_RUN_DIR to another folder")
    with contextlib.ExitStack() as claims:
        for job, _ in tasks:
            (folder / job).mkdir(parents=True, exist_ok=True)
            claims.enter_context(claimed(folder / job))
        yield


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Nobody else on this host claims the folder meanwhile; :class:`UserError` if somebody has."""
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(f"another run is active in {folder}") from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)
