"""The subcommands of ``python -m byteps_gc engine``."""

import argparse
from pathlib import Path
import sys

from byteps_gc import env
from byteps_gc.errors import EngineError
from byteps_gc.processes import exit_on_sigterm


def add(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``engine``."""
    engine = commands.add_parser("engine", help="build BytePS with our fix-ups")
    actions = engine.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build the wheels of byteps_gc and the engine, and print their paths")
    target = build.add_mutually_exclusive_group()
    target.add_argument(
        "--out",
        type=Path,
        default=Path("wheels"),
        metavar="FOLDER",
        help="write both wheels to FOLDER (default: wheels)",
    )
    target.add_argument(
        "--engine-only", action="store_true", help="build only the engine's wheel, and leave it in the cache"
    )
    build.add_argument("--cuda", action="store_true", help="build for GPUs, with NVIDIA's wheels (default: for CPUs)")
    build.add_argument("--cuda-home", type=Path, help="build for GPUs, with this CUDA toolkit (include/, lib64/)")
    build.add_argument("--nccl-home", type=Path, help="NCCL (include/, lib/); required with --cuda-home")
    build.add_argument("--source", type=Path, help="folder with the source archives (default: fetched by pip)")
    build.add_argument("--without", action="append", default=[], metavar="FIXUP", help="leave out a fix-up")
    build.add_argument("--sanitize", choices=["thread"], help="build for CPUs with ThreadSanitizer (docs/engine.md)")
    build.add_argument("--jobs", type=int, help="compile N files at a time (default: number of cores)", metavar="N")
    build.set_defaults(run=run_build)
    libraries = actions.add_parser("libraries", help="link the libraries of NVIDIA's wheels to where MXNet finds them")
    libraries.set_defaults(run=run_libraries)
    listing = actions.add_parser("fixups", help="list every change to BytePS's source with its reason")
    listing.set_defaults(run=run_fixups)


def run_build(options: argparse.Namespace) -> int:
    """Build both wheels, or the engine's, and print their paths."""
    from byteps_gc.engine import build, compile, nvidia, package

    exit_on_sigterm()
    device = compile.TSAN if options.sanitize else compile.HOST
    if options.sanitize and (options.cuda or options.cuda_home):
        raise EngineError("--sanitize cannot be combined with --cuda or --cuda-home")
    if bool(options.cuda_home) != bool(options.nccl_home):
        raise EngineError("--cuda-home and --nccl-home must be given together")
    if options.cuda and options.cuda_home:
        raise EngineError("--cuda (NVIDIA's wheels) cannot be combined with --cuda-home (an installed toolkit)")
    if options.cuda:
        home = nvidia.toolkit(env.cache_folder() / "engine")
        device = compile.cuda(home, home)
    if options.cuda_home:
        device = compile.cuda(options.cuda_home, options.nccl_home)

    def progress(line: str) -> None:
        print(f"  compiling {line}", file=sys.stderr, flush=True)

    engine = build.build(device, options.without, options.source, jobs=options.jobs, progress=progress)
    if not options.engine_only:
        print(package.build(options.out))
        engine = build.copy(engine, options.out)
    print(engine)
    return 0


def run_libraries(options: argparse.Namespace) -> int:
    """Let MXNet find CUDA, cuDNN and NCCL."""
    from byteps_gc.engine import build, nvidia

    folder = build.mxnet_package()
    print(f"{nvidia.expose(folder)} libraries linked in {folder}")
    return 0


def run_fixups(options: argparse.Namespace) -> int:
    """List the fix-ups."""
    from byteps_gc.engine import fixups

    for fixup in fixups.select():
        print(f"{fixup.name}: {fixup.description}" + (f" ({fixup.bug})" if fixup.bug else ""))
    return 0
