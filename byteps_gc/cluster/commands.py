"""The commands of ``python -m byteps_gc`` that start the processes of a job."""

import argparse
import os
from pathlib import Path
import shlex
import time
from typing import Dict, List

import byteps_gc
from byteps_gc import env
from byteps_gc.errors import ClusterError, UserError
from byteps_gc.processes import exit_on_sigterm

SCRIPTS = Path(byteps_gc.__file__).resolve().parent.parent / "example" / "mxnet" / "gradient_compression"
PREFIXES = ("BYTEPS_", "DMLC_", "MXNET_", "NVIDIA_", "OMP_", "PYTHONUNBUFFERED")  # of a role's variables


def add_launch(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``launch``."""
    launch = commands.add_parser(
        "launch",
        help="run a job on this machine: scheduler, servers and workers",
        epilog="The command after -- is run by every worker: launch --workers 2 -- python train.py",
    )
    launch.add_argument("--workers", type=int, default=2, metavar="N", help="number of workers (default: 2)")
    launch.add_argument("--servers", type=int, default=2, metavar="N", help="number of servers (default: 2)")
    launch.add_argument("--port", type=int, default=0, help="port of the scheduler (default: a free port)")
    launch.add_argument("--logs", type=Path, metavar="FOLDER", help="folder of the logs (default: a new one in runs/)")
    launch.add_argument("--quiet", action="store_true", help="write the output of the processes to the logs only")
    launch.set_defaults(run=run_launch)


def add_secret(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``secret``."""
    secret = commands.add_parser("secret", help="make the secret of a cluster, which keeps others out of its jobs")
    file = "file to write (default: secret, next to the guide's settings.sh, where run.sh looks for it)"
    secret.add_argument("file", nargs="?", type=Path, metavar="FILE", help=file)
    secret.set_defaults(run=run_secret)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add what names an experiment and its jobs."""
    parser.add_argument("experiment", type=Path, metavar="EXPERIMENT.ini")
    parser.add_argument("jobs", nargs="*", metavar="JOBS", help="jobs to run (default: all); training flags follow --")


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add the flag that defines a job."""
    parser.add_argument("--job", action="append", default=[], metavar="NAME=FLAGS", help="define one more job")


def add_run(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``run``."""
    run = commands.add_parser("run", help="run the jobs of an experiment on this host (called by run.sh)")
    add_jobs(run)
    add_job(run)
    run.add_argument("--resume", nargs="*", metavar="JOBS", help="continue the unfinished jobs of a run")
    run.add_argument("--print", dest="print_job", metavar="JOB", help="print each role's environment and command only")
    run.set_defaults(run=run_jobs)


def add_roles(commands: "argparse._SubParsersAction") -> None:
    """Add the commands that become one process of a job."""
    host = commands.add_parser("host", help="become a role of this host (called by scheduler.sh, server.sh, worker.sh)")
    host.add_argument("role", choices=("scheduler", "server", "worker"))
    host.add_argument("words", nargs="*", metavar="EXPERIMENT.ini JOB", help="a worker's job; training flags follow --")
    add_job(host)
    host.add_argument("--print", action="store_true", help="print the environment and the command instead")
    host.set_defaults(run=run_host)
    role = commands.add_parser("role", help="become the role that DMLC_ROLE names, like bpslaunch")
    role.set_defaults(run=run_role)
    server = commands.add_parser("server", help="become a server of the cluster that the environment describes")
    server.set_defaults(run=run_server)


def run_launch(options: argparse.Namespace) -> int:
    """Run a whole cluster on this machine."""
    from byteps_gc.cluster import supervisor

    exit_on_sigterm()
    command = options.rest
    if not command:
        raise ClusterError("launch needs the workers' command: launch --workers 2 -- python train.py", 2)
    env.check()
    env.warn_of_misspelled()

    def show(name: str, line: str) -> None:
        if not options.quiet:
            print(f"{name} | {line}", flush=True)

    roles = supervisor.job(options.workers, options.servers, command, options.port)
    supervisor.launch(roles, options.logs or Path("runs", time.strftime(f"launch-%Y%m%d-%H%M%S-{os.getpid()}")), show)
    return 0


def run_secret(options: argparse.Namespace) -> int:
    """Write a secret, and print the line that copies it to the hosts."""
    from byteps_gc.cluster import secret

    file = options.file or SCRIPTS / secret.NAME
    if not options.file and not (SCRIPTS / "settings.sh").is_file():
        raise UserError("secret needs a FILE: the guide's settings.sh is not next to this package")
    file = secret.make(file.absolute())
    copy = shlex.join(["parallel-scp", "-h", "hosts", "-l", "ubuntu", str(file), str(file)])
    print(f"wrote {file}; copy it to all hosts, to the same place:\n    {copy}")
    return 0


def run_jobs(options: argparse.Namespace) -> int:
    """Run an experiment's jobs on this host, or print how each role would be started."""
    from byteps_gc.cluster import run
    from byteps_gc.cluster.experiment import Experiment

    exit_on_sigterm()
    env.warn_of_misspelled()
    experiment = Experiment.read(options.experiment, options.job)
    jobs = [*options.jobs, *(options.resume or [])]
    if options.print_job:
        if jobs or options.resume is not None:
            raise UserError("--print takes one job, and cannot be combined with other jobs or --resume")
        return run.show(experiment, options.print_job, options.rest)
    return run.run(experiment, jobs, options.rest, resume=options.resume is not None)


def run_host(options: argparse.Namespace) -> int:
    """Become a role of this host, as the settings file describes the cluster, or print how that is started."""
    from byteps_gc.cluster import bpslaunch, cluster_spec, run, supervisor
    from byteps_gc.cluster.experiment import Experiment
    from byteps_gc.cluster.run_folder import JobFolder

    command: List[str] = []
    if options.role == "worker":
        if len(options.words) != 2:
            raise UserError("worker.sh takes one job: ./worker.sh onebit [-- TRAINING FLAGS]")
        experiment = Experiment.read(Path(options.words[0]), options.job)
        folder = JobFolder(Path(env.text("BYTEPS_GC_JOB_DIR", ".")), options.words[1])
        command = run.worker_command(experiment, folder, options.rest)
    variables = cluster_spec.Host.from_environment().role_environment(options.role)
    if options.print:
        print(command_line(variables, [*supervisor.BPSLAUNCH, *command]))
        return 0
    os.environ.update(variables)
    return bpslaunch.main(command)


def command_line(variables: Dict[str, str], command: List[str]) -> str:
    """Return the shell command that runs a role: what its environment says of the job, and its command."""
    names = sorted(name for name in variables if name.startswith(PREFIXES))
    lines = ["env", *(f"  {name}={shlex.quote(variables[name])}" for name in names)]
    return " \\\n".join([*lines, "  " + " ".join(map(shlex.quote, command))])


def run_role(options: argparse.Namespace) -> int:
    """Become a scheduler, a server or a worker."""
    from byteps_gc.cluster import bpslaunch

    return bpslaunch.main(options.rest)


def run_server(options: argparse.Namespace) -> int:
    """Become a server, whatever DMLC_ROLE says."""
    os.environ["DMLC_ROLE"] = "server"
    return run_role(options)
