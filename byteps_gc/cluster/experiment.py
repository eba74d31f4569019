"""An experiment: a training script, the flags of all its jobs, and those of each job.

An experiment is a small file, for example::

    [experiment]
    script = train_cifar100_byteps_gc.py
    flags = --model resnet18_v2 --num-epochs 200

    [jobs]
    baseline = --num-epochs 20
    topk = --compressor topk --k 0.001

    [more jobs]
    topk-ef = --compressor topk --k 0.001 --ef vanilla

A script of PyTorch has ``launcher = torchrun``; it runs on simulated hosts. The jobs in the optional section
``more jobs`` run only when they are named. The suffix ``-fp16`` or ``-bf16`` adds ``--fp16-pushpull`` or
``--bf16-pushpull`` to a job of run.sh. A word that begins with ``~`` is a path in the user's home folder.
"""

import configparser
from dataclasses import dataclass
import os
from pathlib import Path
import re
import shlex
import sys
from typing import Dict, List, Sequence, Tuple

from byteps_gc.cluster.run_folder import JobFolder
from byteps_gc.errors import SettingsError
from byteps_gc.report.rows import NARROW_SUFFIXES, split_suffix

RUN_SH, TORCHRUN = "run.sh", "torchrun"


def split_flags(text: str) -> List[str]:
    """Split flags into words."""
    return [os.path.expanduser(word) for word in shlex.split(text)]


def defined(text: str, jobs: Dict[str, Sequence[str]]) -> Tuple[str, List[str]]:
    """Parse "NAME=FLAGS", the definition of a job; the name must be new."""
    name, equals, flags = text.partition("=")
    if not equals or not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
        raise SettingsError(f"--job {text!r} is not NAME=FLAGS, NAME of lower-case letters, digits, - and _")
    if name in jobs:
        raise SettingsError(f"--job {name}: the experiment already has a job of this name")
    try:
        return name, split_flags(flags)
    except ValueError as error:
        raise SettingsError(f"--job {name}: cannot split its flags: {error}") from None


@dataclass(frozen=True)
class Experiment:
    """A training script, and the jobs that run it with certain flags.

    script: its path; flags: of all jobs; jobs: each job's own flags; default: the jobs that run when none is named;
    more: definitions ("NAME=FLAGS") of jobs that the file does not have; launcher: "run.sh" or "torchrun".
    """

    name: str
    script: Path
    flags: Sequence[str]
    jobs: Dict[str, Sequence[str]]
    default: Sequence[str]
    more: Sequence[str] = ()
    launcher: str = RUN_SH

    @classmethod
    def read(cls, file: Path, more: Sequence[str] = ()) -> "Experiment":
        """Read an experiment's file, and add the jobs that ``more`` defines; :class:`SettingsError` for a mistake."""
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(file) as stream:
                parser.read_file(stream)
            script = file.parent / parser["experiment"]["script"]
            flags = split_flags(parser["experiment"]["flags"])
            launcher = parser["experiment"].get("launcher", RUN_SH)
            named = parser["more jobs"] if parser.has_section("more jobs") else {}
            jobs = {name: split_flags(text) for name, text in [*parser["jobs"].items(), *named.items()]}
        except FileNotFoundError:
            known = ", ".join(sorted(path.stem for path in file.parent.glob("*.ini"))) or "none"
            raise SettingsError(f"unknown experiment {file.stem!r} in {file.parent}; known: {known}") from None
        except KeyError as error:
            raise SettingsError(f"{file} has no {error}; expected [experiment] script, flags and [jobs]") from None
        except (configparser.Error, ValueError) as error:
            raise SettingsError(f"{file}: {str(error).splitlines()[0]}") from None
        if launcher not in (RUN_SH, TORCHRUN):
            raise SettingsError(f"{file}: launcher {launcher!r} is not {RUN_SH} or {TORCHRUN}")
        default = list(parser["jobs"])
        for text in more:
            name, flags_of_job = defined(text, jobs)
            jobs[name] = flags_of_job
        return cls(file.stem, script, flags, jobs, default, list(more), launcher)

    @property
    def folder(self) -> Path:
        """The folder of the experiment's file and of run.sh."""
        return self.script.parent

    def worker_command(self, folder: JobFolder, flags: Sequence[str] = ()) -> List[str]:
        """Return the command of a job's workers: the training script with the job's flags, then ``flags``."""
        files = ["--logging-file", str(folder.log), "--save-dir", str(folder.checkpoints)]
        if self.launcher == TORCHRUN:
            files = ["--record", str(folder.record_file)]
        return [sys.executable, str(self.script), *self.job_flags(folder.job), *files, *flags]

    def definitions(self) -> List[str]:
        """Return the flags that define the jobs in ``more``, for run.sh and worker.sh."""
        return [word for text in self.more for word in ("--job", text)]

    def known(self) -> str:
        """Return the names of the jobs, for messages."""
        suffixes = f" (each also with {' or '.join(NARROW_SUFFIXES)})" if self.launcher == RUN_SH else ""
        return ", ".join(self.jobs) + suffixes

    def select(self, words: Sequence[str]) -> List[str]:
        """Return the named jobs, without a name the default ones; :class:`SettingsError` for an unknown one."""
        names = [name for word in words for name in word.split()]
        for name in names:
            self.job_flags(name)
        return names or list(self.default)

    def job_flags(self, job: str) -> List[str]:
        """Return all flags of a job."""
        name, suffix = split_suffix(job, self.jobs) if self.launcher == RUN_SH else (job, "")
        if name not in self.jobs:
            raise SettingsError(f"unknown job {job!r}; known: {self.known()}")
        return [*self.flags, *self.jobs[name], *([f"-{suffix}-pushpull"] if suffix else [])]
