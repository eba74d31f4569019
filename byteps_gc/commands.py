"""The commands of ``python -m byteps_gc``, and how their failures are told."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

from byteps_gc import __version__
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm

BPSLAUNCH = (sys.executable, "-m", "byteps_gc", "role")


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m byteps_gc``."""
    top = argparse.ArgumentParser(prog="python -m byteps_gc", description=__doc__.split("\n")[0])
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    engine = commands.add_parser("engine", help="build BytePS with our fix-ups")
    actions = engine.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build the engine's wheel, or find it in the cache; prints its path")
    build.add_argument("--cuda-home", type=Path, help="CUDA toolkit (include/, lib64/); without it: host memory")
    build.add_argument("--nccl-home", type=Path, help="NCCL (include/, lib/); needed with --cuda-home")
    build.add_argument("--source", type=Path, help="a copy of BytePS's source release, instead of pip's")
    build.add_argument("--without", action="append", default=[], metavar="FIXUP", help="leave out a fix-up")
    build.add_argument("--jobs", type=int, help="files to compile at a time (default: all processors)")
    build.set_defaults(run=engine_build)
    listing = actions.add_parser("fixups", help="list what is changed in BytePS's source, and why")
    listing.set_defaults(run=engine_fixups)

    doctor = commands.add_parser("doctor", help="say what is installed and what is missing")
    doctor.set_defaults(run=run_doctor)

    launch = commands.add_parser("launch", help="run a job on this machine: scheduler, servers and workers")
    launch.add_argument("--workers", type=int, default=2, help="default: 2")
    launch.add_argument("--servers", type=int, default=2, help="default: 2")
    launch.add_argument("--port", type=int, default=0, help="the scheduler's port (default: a free one)")
    launch.add_argument("--logs", type=Path, help="folder for one log a role (default: a temporary one)")
    launch.add_argument("--quiet", action="store_true", help="do not print what the roles print")
    launch.add_argument("worker", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what every worker runs")
    launch.set_defaults(run=run_launch)

    role = commands.add_parser("role", help="become the role that DMLC_ROLE names, as bpslaunch does")
    role.add_argument("worker", nargs=argparse.REMAINDER, metavar="COMMAND")
    role.set_defaults(run=run_role)
    return top


def engine_build(options: argparse.Namespace) -> int:
    """Build the engine and print the path of its wheel."""
    from byteps_gc.engine import build, compile
    from byteps_gc.errors import EngineError

    exit_on_sigterm()
    device = compile.HOST
    if bool(options.cuda_home) != bool(options.nccl_home):
        raise EngineError("--cuda-home and --nccl-home go together")
    if options.cuda_home:
        device = compile.cuda(options.cuda_home, options.nccl_home)

    def progress(line: str) -> None:
        print(f"  compiling {line}", file=sys.stderr, flush=True)

    print(build.build(device, options.without, options.source, jobs=options.jobs, progress=progress))
    return 0


def engine_fixups(options: argparse.Namespace) -> int:
    """List the fix-ups."""
    from byteps_gc.engine.fixups import FIXUPS

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
    command = options.worker[1:] if options.worker[:1] == ["--"] else options.worker
    if not command:
        raise ClusterError("launch needs the workers' command: launch --workers 2 -- python train.py", 2)

    def show(name: str, line: str) -> None:
        if not options.quiet:
            print(f"{name} | {line}", flush=True)

    with tempfile.TemporaryDirectory(prefix="byteps_gc-") as scratch:
        roles = local.job(options.workers, options.servers, command, BPSLAUNCH, Path(scratch), options.port)
        port = int(roles[0].env["DMLC_PS_ROOT_PORT"])
        supervisor = local.Supervisor(options.logs or Path(scratch, "logs"), show)
        supervisor.run(roles, lambda: local.listens(local.LOOPBACK, port))
    return 0


def run_role(options: argparse.Namespace) -> int:
    """Become a scheduler, a server or a worker."""
    from byteps_gc.cluster import bpslaunch

    return bpslaunch.main(options.worker[1:] if options.worker[:1] == ["--"] else options.worker)


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; a user's error becomes one line and a status that is not 0."""
    options = parser().parse_args(arguments)
    try:
        return options.run(options)
    except UserError as error:
        print(f"byteps_gc: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except KeyboardInterrupt:
        print("byteps_gc: interrupted", file=sys.stderr)
        return 130
