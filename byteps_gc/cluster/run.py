"""Run an experiment's jobs, one after another, on this host of the cluster."""

import contextlib
import os
from pathlib import Path
import shlex
import signal
from typing import Iterator, List, Mapping, Optional, Sequence

from byteps_gc import env, report
from byteps_gc.cluster import cluster_spec, secret, supervisor
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.experiment import TORCHRUN, Experiment
from byteps_gc.cluster.rendezvous import Rendezvous
from byteps_gc.cluster.run_folder import JobFolder, RunFolder, Task
from byteps_gc.errors import ClusterError, SettingsError, UserError
from byteps_gc.processes import last_line, output_of, wait_until
from byteps_gc.report import rows
from byteps_gc.report.progress import Progress

PREFIXES = ("BYTEPS_", "DMLC_", "MXNET_", "NVIDIA_", "OMP_", "PYTHONUNBUFFERED")  # of variables that concern a role


def resume_flags(flags: Sequence[str], stem: str) -> List[str]:
    """Return the training script's flags with which a job continues from a checkpoint; none if it is empty."""
    return [*flags, *(["--resume-from", stem] if stem else [])]


def check(
    experiment: Experiment,
    jobs: Sequence[str],
    extra: Sequence[str],
    variables: Mapping[str, str],
    resumed: Optional[RunFolder] = None,
) -> None:
    """Have the training script check each job's flags and data; :class:`UserError` before anything starts.

    variables: a worker's environment; resumed: the folder of the run to resume, whose settings must be the same.
    """
    for job in jobs:
        folder = resumed.job(job) if resumed else JobFolder(Path(os.devnull), job)  # a new run has no record
        flags = resume_flags(extra, folder.last_checkpoint() if resumed else "")
        status, text = output_of([*experiment.worker_command(folder, flags), "--check"], env=dict(variables))
        if status:
            raise UserError(f"job {job}: {last_line(text)}")


def require_run_sh(experiment: Experiment) -> None:
    """:class:`SettingsError` for an experiment that torchrun starts: torchrun is not started from here."""
    if experiment.launcher == TORCHRUN:
        raise SettingsError(
            f"{experiment.name} is started by torchrun: add --hosts N to simulate hosts, or start torchrun"
            f" {experiment.script.name} on each host"
        )


def check_plan(plan: Optional[Sequence[Sequence[str]]], jobs: Sequence[str], planner: str) -> List[Task]:
    """Return the tasks of the first host's plan; :class:`ClusterError` unless this host was asked to run its jobs."""
    tasks = [Task(*one) for one in plan or ()]
    strange = [task.job for task in tasks if task.job not in jobs]
    if plan is None or strange:
        what = f"job {strange[0]!r}, which this host was not asked to run" if strange else "nothing"
        raise ClusterError(f"host {planner} plans {what}")
    return tasks


def start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """Stop an earlier run of this host at this scheduler's address, and register this run.

    The earlier run is identified by its process id and start time, so that no other process is stopped. Its roles end
    with it.
    """
    if not host.port:
        yield
        return
    here = host.hosts[host.index]  # several hosts may share a cache folder
    pid_file = env.cache_folder() / "run" / f"{host.scheduler}-{host.port}-{here}.pid"
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, ValueError):
        pid, since = pid_file.read_text().split()
        if start_time(int(pid)) == since:
            print(f"stopping the processes that run {pid} left on this host", flush=True)
            os.kill(int(pid), signal.SIGTERM)
            if not wait_until(lambda: start_time(int(pid)) != since, 15):
                os.kill(int(pid), signal.SIGKILL)
    pid_file.write_text(f"{os.getpid()} {start_time(os.getpid())}")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            pid_file.unlink()


def run(
    experiment: Experiment, words: Sequence[str], extra: Sequence[str], resume: bool = False, begin: bool = False
) -> int:
    """Run the named jobs of an experiment, or its default ones; ``extra`` flags go to the training script.

    resume: continue a run that failed; the host of worker 0 decides which jobs are left.
    begin: with ``resume``, start the jobs that BYTEPS_GC_RUN_DIR does not have yet.
    Returns 0. Raises :class:`ClusterError` with the exit status of the job that failed, which ends the run.
    """
    require_run_sh(experiment)
    jobs = experiment.select(words)
    host = Host.from_environment()
    with Rendezvous(host, [*jobs, *(["--resume"] if resume else []), *experiment.more, *extra]) as rendezvous:
        folder = RunFolder.to_resume(experiment.name, jobs, begin) if resume and host.index == 0 else None
        check(experiment, jobs, extra, host.variables("worker"), folder)
        if len(host.hosts) > 1 and host.schedules and not env.secret_file():
            print(f"warning: {secret.OPEN}", flush=True)
        with alone(host), Progress() as progress:
            plan = rendezvous.join(folder.unfinished(jobs) if folder else [Task(job) for job in jobs])
            tasks = check_plan(plan, jobs, host.hosts[0])
            if folder is None:
                name = experiment.name
                folder = RunFolder.to_follow(name, jobs) if resume else RunFolder.create(name)
            with folder.locked([task.job for task in tasks], resume):
                for number, task in enumerate(tasks):
                    flags, port = resume_flags(extra, task.checkpoint), host.job_port(number)
                    run_job(host, experiment, folder.job(task.job), flags, port, progress, rendezvous)
    conclude(folder.path)
    return 0


def show(experiment: Experiment, job: str, flags: Sequence[str]) -> int:
    """Print the environment and the command of each role of a job on this host, and how to start it by hand."""
    require_run_sh(experiment)
    command = experiment.worker_command(JobFolder(Path(), job), flags)
    host = Host.from_environment()
    for role in host.roles(job, command, host.job_port(0)):
        by_hand = [f"./{role.kind}.sh"]
        if role.is_worker:
            by_hand += [job, *experiment.definitions(), *(["--", *flags] if flags else [])]
        print(f"# {role.name}: {shlex.join(by_hand)}\n{shell_command(role.env, role.command)}", flush=True)
    return 0


def shell_command(variables: Mapping[str, str], command: Sequence[str]) -> str:
    """Return the shell command that runs a role: the variables that concern its job, and its command."""
    names = sorted(name for name in variables if name.startswith(PREFIXES))
    lines = ["env", *(f"  {name}={shlex.quote(variables[name])}" for name in names)]
    return " \\\n".join([*lines, "  " + shlex.join(command)])


def conclude(folder: Path) -> None:
    """Write and print the tables and plots of the records below a folder, if it has any."""
    records = rows.find([folder])
    if not records:
        return
    try:
        report.present(records, folder)
    except (UserError, OSError) as error:  # of runs that are done
        print(f"no table: {error}", flush=True)


def run_job(
    host: Host,
    experiment: Experiment,
    folder: JobFolder,
    flags: Sequence[str],
    port: int,
    progress: Progress,
    rendezvous: Rendezvous,
) -> None:
    """Run one job's roles on this machine until they end."""
    progress.job(folder.job, len(folder.record().epochs))

    def tick() -> None:
        rendezvous.check()
        if progress.due():
            progress.update(folder.record())

    supervision = supervisor.Supervisor(folder.path, tick=tick, failed=rendezvous.report)
    roles = host.roles(folder.job, experiment.worker_command(folder, flags), port)
    own_secret = len(host.hosts) == 1 and not env.secret_file()
    try:
        if host.schedules:
            supervisor.check_port(host.scheduler, port)
        with supervisor.secured(roles) if own_secret else contextlib.nullcontext(roles) as roles:
            supervision.run(roles, cluster_spec.ready(host, port))
    except ClusterError as error:
        raise ClusterError(f"job {folder.job}: {error}", error.status) from None
    progress.update(folder.record())
