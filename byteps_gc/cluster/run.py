"""Run an experiment's jobs, one after another, on this host of the cluster."""

import contextlib
import os
from pathlib import Path
import shlex
import signal
import sys
import time
from typing import Iterator, List, Mapping, Optional, Sequence

from byteps_gc import env, report
from byteps_gc.cluster import cluster_spec as hosts
from byteps_gc.cluster import run_folder, secret, supervisor
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.rendezvous import Rendezvous
from byteps_gc.errors import ClusterError, UserError
from byteps_gc.processes import last_line, output_of
from byteps_gc.report import record, rows
from byteps_gc.report.progress import Progress


def worker_command(experiment: Experiment, job: str, extra: Sequence[str], folder: Optional[Path] = None) -> List[str]:
    """What a worker of the job runs; its log and checkpoints go to ``folder``, BYTEPS_GC_JOB_DIR or the current one."""
    folder = folder or Path(env.text("BYTEPS_GC_JOB_DIR", "."))
    files = ["--logging-file", str(folder / job), "--save-dir", str(folder / "params")]
    return [sys.executable, str(experiment.script), *experiment.job_flags(job), *files, *extra]


def continued(extra: Sequence[str], stem: str) -> List[str]:
    """The training script's flags with which a job goes on from a checkpoint, or from its beginning without one."""
    return [*extra, *(["--resume-from", stem] if stem else [])]


def check(
    experiment: Experiment,
    jobs: Sequence[str],
    extra: Sequence[str],
    variables: Mapping[str, str],
    resumed: Optional[Path] = None,
) -> None:
    """Have the training script check every job's flags and data; :class:`UserError` before anything starts.

    variables: a worker's environment; resumed: the folder of the run that goes on, whose jobs must be the same.
    """
    for job in jobs:
        flags, folder = extra, Path(os.devnull)  # a new run has no record
        if resumed:
            flags, folder = continued(extra, run_folder.last_checkpoint(resumed, job)), resumed / job
        command = [*worker_command(experiment, job, flags, folder), "--check"]
        status, text = output_of(command, env=dict(variables))
        if status:
            raise UserError(f"job {job}: {last_line(text)}")


def check_plan(tasks: Optional[Sequence[Sequence[str]]], jobs: Sequence[str], planner: str) -> None:
    """:class:`ClusterError` unless the plan of the first host has only jobs that this host was asked to run."""
    strange = [job for job, _ in tasks or () if job not in jobs]
    if tasks is None or strange:
        what = f"job {strange[0]!r}, which this host was not asked to run" if strange else "nothing"
        raise ClusterError(f"host {planner} plans {what}")


def started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


@contextlib.contextmanager
def alone(host: hosts.Host) -> Iterator[None]:
    """End what an earlier run left at this scheduler's address, and be the one that is there.

    The earlier run is known by its process id and start time, so that nobody
    else's process is ever ended; its roles end with it.
    """
    if not host.port:
        yield
        return
    here = host.hosts[host.index]  # several hosts may share a cache folder
    note = env.cache_folder() / "run" / f"{host.scheduler}-{host.port}-{here}.pid"
    note.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, ValueError):
        pid, since = note.read_text().split()
        if started(int(pid)) == since:
            print(f"stopping the processes that run {pid} left on this host", flush=True)
            os.kill(int(pid), signal.SIGTERM)
            deadline = time.monotonic() + 15
            while started(int(pid)) == since and time.monotonic() < deadline:
                time.sleep(0.1)
            if started(int(pid)) == since:
                os.kill(int(pid), signal.SIGKILL)
    note.write_text(f"{os.getpid()} {started(os.getpid())}")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()


def run(
    experiment: Experiment, words: Sequence[str], extra: Sequence[str], resume: bool = False, begin: bool = False
) -> int:
    """Run the named jobs of an experiment, or its default ones; ``extra`` flags go to the training script.

    resume: go on with a run that has failed; what is left to do is decided where worker 0 is.
    begin: to resume what has not begun is to begin it, in BYTEPS_GC_RUN_DIR.
    Returns 0; a failed job raises :class:`ClusterError` with its status, and ends the run.
    """
    jobs = experiment.select(words)
    host = hosts.Host.from_environment()
    with Rendezvous(host, [*jobs, *(["--resume"] if resume else []), *experiment.more, *extra]) as rendezvous:
        folder = run_folder.to_resume(experiment.name, jobs, begin) if resume and host.index == 0 else None
        check(experiment, jobs, extra, host.variables("worker"), folder)
        if len(host.hosts) > 1 and host.schedules and not env.secret_file():
            print(f"warning: {secret.OPEN}", flush=True)
        with alone(host), Progress() as progress:
            tasks = rendezvous.gather(run_folder.left(folder, jobs) if folder else [(job, "") for job in jobs])
            check_plan(tasks, jobs, host.hosts[0])
            if folder is None:
                folder = run_folder.elsewhere(experiment.name, jobs) if resume else run_folder.new(experiment.name)
            with run_folder.of_jobs(folder, tasks, resume):
                for number, (job, stem) in enumerate(tasks):
                    flags, port = continued(extra, stem), host.job_port(number)
                    run_job(host, experiment, folder / job, job, flags, port, progress, rendezvous)
    conclude(folder)
    return 0


def show(experiment: Experiment, job: str, extra: Sequence[str]) -> int:
    """Print the environment and the command of each role of a job on this host, as its script would start it."""
    experiment.job_flags(job)
    host = hosts.Host.from_environment()
    for role in host.roles(experiment, job, extra, host.job_port(0), "--print"):
        print(f"# {role.name}: {' '.join(map(shlex.quote, role.command[:-1]))}", flush=True)
        status, text = output_of(role.command, env=role.env)
        print(text, flush=True)
        if status:
            return status
    return 0


def conclude(folder: Path) -> None:
    """Make and show the tables and the plots of the records below a folder, if it has any."""
    records = rows.find([folder])
    if not records:
        return
    try:
        report.present(records, folder)
    except (UserError, OSError) as error:  # of runs that are done
        print(f"no table: {error}", flush=True)


def run_job(
    host: hosts.Host,
    experiment: Experiment,
    folder: Path,
    job: str,
    extra: Sequence[str],
    port: int,
    progress: Progress,
    rendezvous: Rendezvous,
) -> None:
    """Run one job's roles on this machine to their end."""
    os.environ["BYTEPS_GC_JOB_DIR"] = str(folder)
    file = record.beside(str(folder / job))
    progress.job(job, len(record.read(file).epochs))

    def tick() -> None:
        rendezvous.check()
        if progress.due():
            progress.update(record.read(file))

    supervision = supervisor.Supervisor(folder, tick=tick, failed=rendezvous.tell)
    roles = host.roles(experiment, job, extra, port)
    own_secret = len(host.hosts) == 1 and not env.secret_file()
    try:
        with supervisor.secured(roles) if own_secret else contextlib.nullcontext(roles) as roles:
            supervision.run(roles, hosts.ready(host, port))
    except ClusterError as error:
        raise ClusterError(f"job {job}: {error}", error.status) from None
    progress.update(record.read(file))
