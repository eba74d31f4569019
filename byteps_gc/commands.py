"""The commands of ``python -m byteps_gc``, and how their failures are told."""

import argparse
import os
from pathlib import Path
import sys
import time
from typing import List, Optional, Tuple

from byteps_gc import __version__, env
from byteps_gc.bench import commands as bench
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m byteps_gc``."""
    top = argparse.ArgumentParser(prog="python -m byteps_gc", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    engine = commands.add_parser("engine", help="build BytePS with our fix-ups")
    actions = engine.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build the engine's wheel, or find it in the cache; prints its path")
    build.add_argument("--cuda", action="store_true", help="for GPUs, with NVIDIA's wheels; else for host memory")
    build.add_argument("--cuda-home", type=Path, help="for GPUs, with an installed CUDA toolkit (include/, lib64/)")
    build.add_argument("--nccl-home", type=Path, help="NCCL (include/, lib/); needed with --cuda-home")
    build.add_argument("--source", type=Path, help="a copy of BytePS's source release, instead of pip's")
    build.add_argument("--without", action="append", default=[], metavar="FIXUP", help="leave out a fix-up")
    build.add_argument("--sanitize", choices=["thread"], help="for host memory, with ThreadSanitizer: docs/engine.md")
    build.add_argument("--jobs", type=int, help="files to compile at a time (default: all processors)")
    build.set_defaults(run=engine_build)
    libraries = actions.add_parser("libraries", help="link the libraries of NVIDIA's wheels to where MXNet finds them")
    libraries.set_defaults(run=engine_libraries)
    listing = actions.add_parser("fixups", help="list what is changed in BytePS's source, and why")
    listing.set_defaults(run=engine_fixups)

    doctor = commands.add_parser("doctor", help="say what is installed and what is missing")
    doctor.set_defaults(run=run_doctor)

    launch = commands.add_parser(
        "launch",
        help="run a job on this machine: scheduler, servers and workers",
        epilog="What follows -- is the command that every worker runs: launch --workers 2 -- python train.py",
    )
    launch.add_argument("--workers", type=int, default=2, help="default: 2")
    launch.add_argument("--servers", type=int, default=2, help="default: 2")
    launch.add_argument("--port", type=int, default=0, help="the scheduler's port (default: a free one)")
    launch.add_argument("--logs", type=Path, help="folder for one log a role (default: one in runs/)")
    launch.add_argument("--quiet", action="store_true", help="do not print what the roles print")
    launch.set_defaults(run=run_launch)

    run = commands.add_parser("run", help="run an experiment's jobs on this host (what run.sh calls)")
    run.add_argument("experiment", type=Path, metavar="EXPERIMENT.ini")
    run.add_argument("jobs", nargs="*", metavar="JOBS", help="default: all; training flags follow --")
    run.add_argument("--resume", nargs="*", metavar="JOBS", help="go on with the unfinished jobs of a run")
    run.set_defaults(run=run_jobs)

    again = commands.add_parser("reproduce", help="all of an experiment's jobs and the table (what reproduce.sh calls)")
    again.add_argument("experiment", type=Path, metavar="EXPERIMENT.ini")
    again.add_argument("jobs", nargs="*", metavar="JOBS", help="default: all; training flags follow --")
    again.add_argument("--seeds", type=int, default=1, help="runs of each job, with seeds from 0 up; default: 1")
    again.add_argument("--hosts", type=int, default=0, help="made of namespaces (default: the settings' cluster)")
    again.add_argument("--rate", default="", help="of the link of each of these hosts: 100mbit, 1gbit, ...")
    again.add_argument("--out", type=Path, metavar="FOLDER", help="default: results/EXPERIMENT, -HOSTS-RATE with hosts")
    again.set_defaults(run=run_reproduce)

    host = commands.add_parser("host", help="become a role of this host (what scheduler.sh and its like call)")
    host.add_argument("role", choices=("scheduler", "server", "worker"))
    host.add_argument("words", nargs="*", metavar="EXPERIMENT.ini JOB", help="of a worker; training flags follow --")
    host.set_defaults(run=run_host)

    report = commands.add_parser("report", help="the table of the runs in some folders, means over seeds")
    report.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    report.add_argument("--out", type=Path, metavar="FOLDER", help="also write table.md, .csv, .json and plots there")
    report.set_defaults(run=run_report)

    pack = commands.add_parser("pack", help="pack an image folder into the .rec, .idx and .lst files that MXNet reads")
    pack.add_argument("folder", type=Path, metavar="FOLDER", help="one sub-folder for each class")
    pack.add_argument("prefix", type=Path, metavar="PREFIX", help="path of the files without their endings")
    pack.add_argument("--val-share", type=float, default=0.0, help="share of PREFIX_val; the rest is PREFIX_train")
    pack.add_argument("--resize", type=int, metavar="PIXELS", help="scale the shorter side, and encode again as JPEG")
    pack.add_argument("--quality", type=int, default=95, help="of these JPEGs, 1 to 100; default: 95")
    pack.add_argument("--seed", type=int, default=0, help="of the order; default: 0")
    pack.set_defaults(run=run_pack)

    role = commands.add_parser("role", help="become the role that DMLC_ROLE names, as bpslaunch does")
    role.set_defaults(run=run_role)

    server = commands.add_parser("server", help="become a server of the cluster that the environment describes")
    server.set_defaults(run=run_server)

    bench.add(commands)
    return top


def engine_build(options: argparse.Namespace) -> int:
    """Build the engine and print the path of its wheel."""
    from byteps_gc.engine import build, compile, nvidia
    from byteps_gc.errors import EngineError

    exit_on_sigterm()
    device = compile.TSAN if options.sanitize else compile.HOST
    if options.sanitize and (options.cuda or options.cuda_home):
        raise EngineError("--sanitize is for host memory")
    if bool(options.cuda_home) != bool(options.nccl_home):
        raise EngineError("--cuda-home and --nccl-home go together")
    if options.cuda and options.cuda_home:
        raise EngineError("--cuda takes NVIDIA's wheels, --cuda-home an installed toolkit: one of them is enough")
    if options.cuda:
        home = nvidia.toolkit(env.cache_folder() / "engine")
        device = compile.cuda(home, home)
    if options.cuda_home:
        device = compile.cuda(options.cuda_home, options.nccl_home)

    def progress(line: str) -> None:
        print(f"  compiling {line}", file=sys.stderr, flush=True)

    print(build.build(device, options.without, options.source, jobs=options.jobs, progress=progress))
    return 0


def engine_libraries(options: argparse.Namespace) -> int:
    """Let MXNet find CUDA, cuDNN and NCCL."""
    from byteps_gc.engine import build, nvidia

    folder = build.mxnet_package()
    print(f"{nvidia.expose(folder)} libraries linked in {folder}")
    return 0


def engine_fixups(options: argparse.Namespace) -> int:
    """List the fix-ups."""
    from byteps_gc.engine.changes import FIXUPS

    for fixup in FIXUPS:
        print(f"{fixup.name}: {fixup.reason}" + (f" ({fixup.issue})" if fixup.issue else ""))
    return 0


def run_doctor(options: argparse.Namespace) -> int:
    """Print what is installed; 1 if the main job could not run."""
    from byteps_gc import doctor

    return doctor.report()


def run_launch(options: argparse.Namespace) -> int:
    """Run a whole cluster on this machine."""
    from byteps_gc.cluster import local
    from byteps_gc.errors import ClusterError

    exit_on_sigterm()
    command = options.rest
    if not command:
        raise ClusterError("launch needs the workers' command: launch --workers 2 -- python train.py", 2)
    env.check_numbers()

    def show(name: str, line: str) -> None:
        if not options.quiet:
            print(f"{name} | {line}", flush=True)

    roles = local.job(options.workers, options.servers, command, options.port)
    local.launch(roles, options.logs or Path("runs", time.strftime(f"launch-%Y%m%d-%H%M%S-{os.getpid()}")), show)
    return 0


def split(words: List[str]) -> Tuple[List[str], List[str]]:
    """The words before the first "--", and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def run_jobs(options: argparse.Namespace) -> int:
    """Run an experiment's jobs on this host."""
    from byteps_gc.cluster import run

    exit_on_sigterm()
    jobs = [*options.jobs, *(options.resume or [])]
    return run.run(options.experiment, jobs, options.rest, resume=options.resume is not None)


def run_reproduce(options: argparse.Namespace) -> int:
    """Run all of an experiment's jobs and make their table."""
    from byteps_gc import reproduce
    from byteps_gc.cluster.experiment import Experiment
    from byteps_gc.cluster.namespaces import NamespaceHosts

    exit_on_sigterm()
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds} is less than 1")
    if options.rate and not options.hosts:
        raise UserError("--rate is of hosts that --hosts makes")
    if options.hosts:
        NamespaceHosts(options.hosts, options.rate)  # says what is wrong with them
    name = options.experiment.stem
    if options.hosts:
        name += f"-{options.hosts}-hosts" + (f"-{options.rate}" if options.rate else "")
    jobs = Experiment.read(options.experiment).select(options.jobs)
    out = (options.out or Path("results", name)).absolute()
    seeds, extra = range(options.seeds), options.rest
    series = reproduce.Series(options.experiment.absolute(), jobs, seeds, out, extra, options.hosts, options.rate)
    return reproduce.main(series)


def run_host(options: argparse.Namespace) -> int:
    """Become a role of this host, as the settings file describes the cluster."""
    from byteps_gc.cluster import bpslaunch, host, run
    from byteps_gc.cluster.experiment import Experiment

    command: List[str] = []
    if options.role == "worker":
        if len(options.words) != 2:
            raise UserError("worker.sh takes one job: ./worker.sh onebit [-- TRAINING FLAGS]")
        command = run.worker_command(Experiment.read(Path(options.words[0])), options.words[1], options.rest)
    os.environ.update(host.Host.from_environment().role_environment(options.role))
    return bpslaunch.main(command)


def run_report(options: argparse.Namespace) -> int:
    """Print the table of recorded runs."""
    from byteps_gc import report
    from byteps_gc.report import rows

    records = rows.find(options.folders)
    if not records:
        raise UserError(f"no run is recorded in {', '.join(map(str, options.folders))}")
    report.present(records, options.out)
    return 0


def run_pack(options: argparse.Namespace) -> int:
    """Pack an image folder."""
    from byteps_gc.data import packing

    exit_on_sigterm()
    given = (options.val_share, options.resize, options.quality, options.seed)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    for line in packing.pack(options.folder, options.prefix, *given):
        print(line.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def run_role(options: argparse.Namespace) -> int:
    """Become a scheduler, a server or a worker."""
    from byteps_gc.cluster import bpslaunch

    return bpslaunch.main(options.rest)


def run_server(options: argparse.Namespace) -> int:
    """Become a server, whatever DMLC_ROLE says."""
    os.environ["DMLC_ROLE"] = "server"
    return run_role(options)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; a user's error becomes one line and a status that is not 0."""
    words, rest = split(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    options.rest = rest
    try:
        return options.run(options)
    except UserError as error:
        print(f"byteps_gc: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("byteps_gc"):
            raise
        print(f"byteps_gc: the package {error.name} is missing; ./scripts/setup.sh installs it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("byteps_gc: interrupted", file=sys.stderr)
        return 130
