"""The folder of a run on this host, with a sub-folder for each of its jobs.

A job's folder exists from the job's start. Only the host of worker 0 has records and checkpoints in it,
so only that host knows how far each job is.
"""

import contextlib
from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
import time
from typing import Iterator, List, NamedTuple, Sequence

from byteps_gc import env
from byteps_gc.errors import SettingsError, UserError
from byteps_gc.report.record import Record, path_of, read
from byteps_gc.training import checkpoint

DIGITS = "[0-9]"
TIME = f"{DIGITS * 8}-{DIGITS * 6}"  # of a run's start, in its folder's name


class Task(NamedTuple):
    """A job to run, and the checkpoint that it continues from, as a path without suffix; empty: from the beginning."""

    job: str
    checkpoint: str = ""


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job: its log, its record, its checkpoints, and the output of its processes."""

    path: Path
    job: str

    @property
    def log(self) -> Path:
        """The training log."""
        return self.path / self.job

    @property
    def record_file(self) -> Path:
        """The file of the job's record, next to the log."""
        return path_of(str(self.log))

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "params"

    def record(self) -> Record:
        """Read the job's record; it is empty if there is no file."""
        return read(self.record_file)

    def last_checkpoint(self) -> str:
        """Return the newest checkpoint, as a path without suffix; empty if there is none."""
        return str(checkpoint.newest(self.checkpoints) or "")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run of this host; :class:`UserError` if another run holds it."""
        handle = os.open(str(self.path), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"another run is active in {self.path}") from None
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run of one or several jobs."""

    path: Path

    @classmethod
    def create(cls, experiment: str) -> "RunFolder":
        """Create BYTEPS_GC_RUN_DIR, or a new folder in ``runs`` in the current folder, and print its path."""
        name = f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = cls(Path(env.text("BYTEPS_GC_RUN_DIR") or f"runs/{name}").absolute())
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.announce()
        return folder

    @classmethod
    def existing(cls, experiment: str) -> List["RunFolder"]:
        """Return the folders of an experiment's runs, newest first: BYTEPS_GC_RUN_DIR alone, or those in ``runs``."""
        if env.text("BYTEPS_GC_RUN_DIR"):
            return [cls(Path(env.text("BYTEPS_GC_RUN_DIR")).absolute())]
        return [cls(path) for path in sorted(Path("runs").absolute().glob(f"{experiment}-{TIME}"), reverse=True)]

    @classmethod
    def to_resume(cls, experiment: str, jobs: Sequence[str], begin: bool = False) -> "RunFolder":
        """Return the folder of the run to resume, on the host of worker 0.

        That is BYTEPS_GC_RUN_DIR, or the newest run folder in which one of the jobs is unfinished.
        begin: whether BYTEPS_GC_RUN_DIR may have none of the jobs yet.
        Raises :class:`SettingsError` if there is no such folder.
        """
        given, wanted = env.text("BYTEPS_GC_RUN_DIR"), ", ".join(jobs)
        for folder in cls.existing(experiment):
            started = folder.started(jobs)
            if begin or started and (given or not all(one.record().finished for one in started)):
                return folder
        if given:
            raise SettingsError(f"nothing to resume: the folder {given} holds no job {wanted}")
        raise SettingsError(
            f"nothing to resume: no run {Path('runs').absolute() / experiment}-TIME holds an unfinished job of"
            f" {wanted}; set BYTEPS_GC_RUN_DIR to the run's folder"
        )

    @classmethod
    def to_follow(cls, experiment: str, jobs: Sequence[str]) -> "RunFolder":
        """Return the folder of a resumed run on another host: the newest that has one of the jobs, or a new one."""
        for folder in cls.existing(experiment):
            if folder.started(jobs):
                folder.announce()
                return folder
        return cls.create(experiment)

    def announce(self) -> None:
        """Print the folder's path."""
        print(f"run folder: {self.path}", flush=True)

    def job(self, name: str) -> JobFolder:
        """Return the folder of a job, which may not exist yet."""
        return JobFolder(self.path / name, name)

    def started(self, jobs: Sequence[str]) -> List[JobFolder]:
        """Return the folders of those jobs that have started."""
        return [one for one in map(self.job, jobs) if one.path.is_dir()]

    def unfinished(self, jobs: Sequence[str]) -> List[Task]:
        """Return the unfinished ones of the jobs as tasks; print a line about each job."""
        self.announce()
        tasks = []
        for folder in map(self.job, dict.fromkeys(jobs)):
            stem = folder.last_checkpoint()
            if folder.record().finished:
                print(f"{folder.job}: finished, nothing to do", flush=True)
                continue
            why = "no checkpoint" if folder.path.is_dir() else "not started"
            how = f"continues from {stem}" if stem else f"{why}, starts from the first epoch"
            print(f"{folder.job}: {how}", flush=True)
            tasks.append(Task(folder.job, stem))
        return tasks

    @contextlib.contextmanager
    def locked(self, jobs: Sequence[str], resume: bool) -> Iterator[None]:
        """Create the folders of the jobs and hold them for one run.

        Raises :class:`UserError` if another run holds one, or if one exists and the run is not resumed.
        """
        folders = [self.job(name) for name in jobs]
        for folder in folders:
            if folder.path.exists() and not resume:
                raise UserError(f"{folder.path} already exists; set BYTEPS_GC_RUN_DIR to another folder")
        with contextlib.ExitStack() as locks:
            for folder in folders:
                folder.path.mkdir(parents=True, exist_ok=True)
                locks.enter_context(folder.locked())
            yield
