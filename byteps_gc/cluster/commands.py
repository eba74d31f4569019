"""The commands of ``python -m byteps_gc`` that start the processes of a job."""

import argparse
import os
from pathlib import Path
import shlex
import sys
import time
from typing import Any

import byteps_gc
from byteps_gc import env
from byteps_gc.errors import ClusterError, UserError
from byteps_gc.processes import exit_on_sigterm

SCRIPTS = Path(byteps_gc.__file__).resolve().parent.parent / "example" / "mxnet" / "gradient_compression"


def add(commands: Any) -> None:
    """Add the commands of a job's processes."""
    add_launch(commands)
    add_secret(commands)
    add_run(commands)
    add_roles(commands)


def add_launch(commands: Any) -> None:
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


def add_secret(commands: Any) -> None:
    """Add the command ``secret``."""
    secret = commands.add_parser("secret", help="make the secret of a cluster, which keeps others out of its jobs")
    file = "file to write (default: secret, next to the guide's settings.sh, where run.sh looks for it)"
    secret.add_argument("file", nargs="?", type=Path, metavar="FILE", help=file)
    secret.set_defaults(run=run_secret)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name an experiment and its jobs."""
    parser.add_argument("experiment", type=Path, metavar="EXPERIMENT.ini")
    parser.add_argument("jobs", nargs="*", metavar="JOBS", help="jobs to run (default: all); training flags follow --")


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add the flag that defines a job."""
    parser.add_argument("--job", action="append", default=[], metavar='NAME="FLAGS"', help="define one more job")


def add_simulated_hosts(parser: argparse.ArgumentParser) -> None:
    """Add the flags of simulated hosts; :func:`check_simulated_hosts` checks them."""
    parser.add_argument("--hosts", type=int, metavar="N", help="simulate N hosts (default: the hosts of settings.sh)")
    rate = "bandwidth of each simulated host's link, such as 100mbit or 1gbit (default: no limit)"
    parser.add_argument("--rate", default="", help=rate)


def check_simulated_hosts(options: argparse.Namespace) -> None:
    """Check the flags of simulated hosts; raise :class:`UserError` for values that cannot work."""
    from byteps_gc.cluster.namespaces import NamespaceHosts

    if options.rate and options.hosts is None:
        raise UserError("--rate needs --hosts: it limits the links of simulated hosts")
    if options.hosts is not None:
        NamespaceHosts(options.hosts, options.rate)  # checks both


def become_able_to_simulate() -> None:
    """Start this command again with the right to simulate hosts, unless this process has it."""
    from byteps_gc.cluster import privileges

    privileges.enter([sys.executable, "-m", "byteps_gc", *sys.argv[1:]])


def add_run(commands: Any) -> None:
    """Add the command ``run``."""
    run = commands.add_parser(
        "run", help="run the jobs of an experiment on this host (called by run.sh), or on simulated hosts"
    )
    add_jobs(run)
    add_job(run)
    run.add_argument("--experiment", dest="name", metavar="NAME", help="run NAME.ini in the folder of EXPERIMENT.ini")
    run.add_argument("--resume", nargs="*", metavar="JOBS", help="continue the unfinished jobs of a run")
    run.add_argument("--print", dest="print_job", metavar="JOB", help="print each role's environment and command only")
    add_simulated_hosts(run)
    pssh = "start run.sh on the simulated hosts by sshd and parallel-ssh, as on real hosts (needs root)"
    run.add_argument("--pssh", action="store_true", help=pssh)
    run.set_defaults(run=run_jobs)


def add_roles(commands: Any) -> None:
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
    """Run an experiment's jobs on this host or on simulated hosts, or print how each role would be started."""
    from byteps_gc.cluster import run
    from byteps_gc.cluster.experiment import Experiment

    exit_on_sigterm()
    env.warn_of_misspelled()
    file = options.experiment.with_name(f"{options.name}.ini") if options.name else options.experiment
    experiment = Experiment.read(file, options.job)
    check_simulated_hosts(options)
    if options.hosts is not None:
        return run_simulated(experiment, options)
    if options.pssh:
        raise UserError("--pssh needs --hosts: it starts the jobs on simulated hosts")
    jobs = [*options.jobs, *(options.resume or [])]
    if options.print_job:
        if jobs or options.resume is not None:
            raise UserError("--print takes one job, and cannot be combined with other jobs or --resume")
        return run.show(experiment, options.print_job, options.rest)
    return run.run(experiment, jobs, options.rest, resume=options.resume is not None)


def run_simulated(experiment: Any, options: argparse.Namespace) -> int:
    """Run an experiment's jobs on simulated hosts."""
    from byteps_gc.cluster import simulated_cluster

    if options.print_job or options.resume is not None:
        raise UserError("--hosts cannot be combined with --print or --resume: simulated hosts are new for each run")
    env.check()
    jobs = experiment.select(options.jobs)
    if not options.pssh:
        become_able_to_simulate()
    simulated_cluster.run(experiment, options.hosts, options.rate, jobs, options.rest, options.pssh)
    return 0


def run_host(options: argparse.Namespace) -> int:
    """Become a role of this host, as the settings file describes the cluster, or print how that is started."""
    from byteps_gc.cluster import bpslaunch, supervisor
    from byteps_gc.cluster.cluster_spec import Host
    from byteps_gc.cluster.experiment import Experiment
    from byteps_gc.cluster.run import shell_command
    from byteps_gc.cluster.run_folder import JobFolder

    command, job = [], ""
    if options.role == "worker":
        if len(options.words) != 2:
            raise UserError("worker.sh takes one job: ./worker.sh onebit [-- TRAINING FLAGS]")
        file, job = options.words
        command = Experiment.read(Path(file), options.job).worker_command(JobFolder(Path(), job), options.rest)
    variables = Host.from_environment().role_environment(options.role, job)
    if options.print:
        print(shell_command(variables, [*supervisor.BPSLAUNCH, *command]))
        return 0
    os.environ.update(variables)
    return bpslaunch.main(command)


def run_role(options: argparse.Namespace) -> int:
    """Become a scheduler, a server or a worker."""
    from byteps_gc.cluster import bpslaunch

    return bpslaunch.main(options.rest)


def run_server(options: argparse.Namespace) -> int:
    """Become a server, whatever DMLC_ROLE says."""
    os.environ["DMLC_ROLE"] = "server"
    return run_role(options)
