"""An experiment: a training script, the flags of all its jobs, and those of each job.

The constants stand in one small file, for example::

    [experiment]
    script = train_cifar100_byteps_gc.py
    flags = --model resnet18_v2 --num-epochs 200

    [jobs]
    baseline = --num-epochs 20
    topk = --compressor topk --k 0.001

    [more jobs]
    topk-ef = --compressor topk --k 0.001 --ef vanilla

``more jobs``, which may be missing, are run when they are named. A job's name
with ``-fp16`` at its end is that job with ``--fp16-pushpull``. A word that begins
with ``~`` is a path in the home folder of whoever runs the job.
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
from byteps_gc.report.rows import FP16_SUFFIX


def split_flags(text: str) -> List[str]:
    """The words of some flags."""
    return [os.path.expanduser(word) for word in shlex.split(text)]


def defined(text: str, jobs: Dict[str, Sequence[str]]) -> Tuple[str, List[str]]:
    """Return the name and flags of a job that is written as "NAME=FLAGS"; it must be a new one."""
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
    """What an experiment's file says.

    script: a path; flags: of all jobs, words; jobs: each one's flags; default: those that run when none is named;
    more: the jobs that the file does not have, each as "NAME=FLAGS".
    """

    name: str
    script: Path
    flags: Sequence[str]
    jobs: Dict[str, Sequence[str]]
    default: Sequence[str]
    more: Sequence[str] = ()

    @classmethod
    def read(cls, file: Path, more: Sequence[str] = ()) -> "Experiment":
        """Read an experiment's file; :class:`SettingsError` says what is wrong with it.

        more: jobs that the file does not have, each as "NAME=FLAGS".
        """
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(file) as stream:
                parser.read_file(stream)
            script = file.parent / parser["experiment"]["script"]
            flags = split_flags(parser["experiment"]["flags"])
            named = parser["more jobs"] if parser.has_section("more jobs") else {}
            jobs = {name: split_flags(text) for name, text in [*parser["jobs"].items(), *named.items()]}
        except FileNotFoundError:
            known = ", ".join(sorted(path.stem for path in file.parent.glob("*.ini"))) or "none"
            raise SettingsError(f"unknown experiment {file.stem!r} in {file.parent}; known: {known}") from None
        except KeyError as error:
            raise SettingsError(f"{file} has no {error}; expected [experiment] script, flags and [jobs]") from None
        except (configparser.Error, ValueError) as error:
            raise SettingsError(f"{file}: {str(error).splitlines()[0]}") from None
        default = list(parser["jobs"])
        for text in more:
            name, flags_of_job = defined(text, jobs)
            jobs[name] = flags_of_job
        return cls(file.stem, script, flags, jobs, default, list(more))

    @property
    def folder(self) -> Path:
        """The folder of the experiment's file and of the scripts that start its roles."""
        return self.script.parent

    def worker_command(self, folder: JobFolder, flags: Sequence[str] = ()) -> List[str]:
        """Return the command of a job's workers: the training script with the job's flags, then ``flags``."""
        files = ["--logging-file", str(folder.log), "--save-dir", str(folder.checkpoints)]
        return [sys.executable, str(self.script), *self.job_flags(folder.job), *files, *flags]

    def definitions(self) -> List[str]:
        """Return the flags that define the jobs in ``more``, for run.sh and worker.sh."""
        return [word for text in self.more for word in ("--job", text)]

    def known(self) -> str:
        """The jobs, for messages."""
        return f"{', '.join(self.jobs)} (each also with {FP16_SUFFIX})"

    def select(self, words: Sequence[str]) -> List[str]:
        """The named jobs, the default ones for no name; :class:`SettingsError` for an unknown one."""
        names = [name for word in words for name in word.split()]
        for name in names:
            self.job_flags(name)
        return names or list(self.default)

    def job_flags(self, job: str) -> List[str]:
        """The flags that make up a job, without the script."""
        name, half = job, []
        if job.endswith(FP16_SUFFIX) and job not in self.jobs:
            name, half = job[: -len(FP16_SUFFIX)], ["--fp16-pushpull"]
        if name not in self.jobs:
            raise SettingsError(f"unknown job {job!r}; known: {self.known()}")
        return [*self.flags, *self.jobs[name], *half]
