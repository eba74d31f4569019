"""The benchmarks' command lines."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc import env
from byteps_gc.cluster.namespaces import CONGESTION


def add(commands: Any) -> None:
    """Add ``bench`` and its subcommands to a parser's commands."""
    bench = commands.add_parser("bench", help="benchmark against stock BytePS and other systems")
    subjects = bench.add_subparsers(dest="subject", metavar="BENCHMARK", required=True)
    add_compressors(subjects)
    add_step(subjects)
    add_engine(subjects)
    add_peers(subjects)
    add_predict(subjects)


def _count(parser: argparse.ArgumentParser, flag: str, default: int, text: str) -> None:
    """Add a flag that takes a number."""
    parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{text} (default: {default})")


def add_compressors(subjects: Any) -> None:
    """Add ``bench compressors``."""
    parser = subjects.add_parser("compressors", help="measure speed and error of every compressor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    _count(parser, "--repeats", 9, "measurements per median")
    _count(parser, "--partitions", 15, "compress N x 4096000 B")
    parser.add_argument(
        "--codec",
        action="append",
        default=[],
        metavar="NAME",
        help="measure only this compressor, such as topk or 'topk k=0.1' (repeatable)",
    )
    parser.set_defaults(run=bench_compressors)


def add_step(subjects: Any) -> None:
    """Add ``bench step``."""
    parser = subjects.add_parser("step", help="measure a training step with every compressor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--model", default="resnet18_v2", help="train this GluonCV model (default: resnet18_v2)")
    _count(parser, "--batch-size", 32, "batch size per worker")
    _count(parser, "--workers", 2, "number of workers")
    _count(parser, "--servers", 2, "number of servers")
    _count(parser, "--steps", 20, "steps per job and round")
    _count(parser, "--rounds", 5, "rounds per median")
    parser.add_argument(
        "--job", action="append", default=[], metavar="NAME", help="measure only this job and the baseline (repeatable)"
    )
    parser.set_defaults(run=bench_step)


def add_engine(subjects: Any) -> None:
    """Add ``bench engine``."""
    parser = subjects.add_parser("engine", help="measure an idle cluster, a step, an exchange and a server's CPU time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values to this file")
    _count(parser, "--rounds", 3, "rounds per median")
    _count(parser, "--steps", 200, "training steps per round")
    _count(parser, "--exchange-rounds", 20, "exchanges per round")
    parser.add_argument(
        "--idle-seconds", type=float, default=10.0, metavar="SECONDS", help="time that the cluster idles (default: 10)"
    )
    _count(parser, "--servers-per-host", 1, "servers per host in the exchange")
    parser.add_argument("--static", action="store_true", help="train with static memory: all gradients arrive at once")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="measure only idle, step, exchange or server (repeatable)",
    )
    parser.add_argument("--no-stock", action="store_true", help="leave out stock BytePS")
    parser.set_defaults(run=bench_engine)


def add_peers(subjects: Any) -> None:
    """Add ``bench peers``."""
    parser = subjects.add_parser("peers", help="compare an exchange of gradients with MXNet, PyTorch and Horovod")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results to this file, or continue it")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="exchange the gradients of resnet18_v2, resnet50_v2 or vgg16 (repeatable; default: all)",
    )
    parser.add_argument(
        "--hosts", action="append", type=int, metavar="N", help="simulate N hosts (repeatable; default: 2 and 4)"
    )
    parser.add_argument(
        "--rate",
        action="append",
        metavar="RATE",
        help="bandwidth of each simulated host's link (repeatable; default: 100mbit, 1gbit and unshaped)",
    )
    parser.add_argument(
        "--congestion",
        default=CONGESTION,
        metavar="NAME",
        help=f"TCP's congestion control between the hosts, such as bbr (default: {CONGESTION}, Linux's default)",
    )
    contestants = parser.add_mutually_exclusive_group()
    contestants.add_argument(
        "--peer", action="append", default=[], metavar="NAME", help="measure only this system (repeatable)"
    )
    contestants.add_argument(
        "--group",
        choices=("systems", "torch"),
        default="systems",
        help="systems: BytePS, MXNet, Horovod and PyTorch 1.12 (default); torch: DDP with the hook of byteps_gc and"
        " PyTorch's own hooks, in one environment with PyTorch 2",
    )
    parser.add_argument(
        "--torch-python",
        type=Path,
        metavar="PATH",
        help="a Python with PyTorch 2 and byteps_gc (default: that of .venv-torch, made by ./scripts/setup.sh --torch)",
    )
    _count(parser, "--repeats", 2, "turns per system")
    parser.set_defaults(run=bench_peers)


def add_predict(subjects: Any) -> None:
    """Add ``bench predict``."""
    parser = subjects.add_parser("predict", help="predict the time of a step on other networks")
    parser.add_argument(
        "folder",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="compare with the runs in this folder of reproduce.sh; runs with and without a bandwidth limit are needed",
    )
    parser.add_argument(
        "--compute",
        action="append",
        default=[],
        metavar="MODEL=SECONDS",
        help="predict a cluster whose hosts' 8 GPUs compute a step of MODEL in SECONDS (repeatable)",
    )
    parser.add_argument("--compressors", type=Path, metavar="FILE", help="speeds, written by bench compressors --json")
    _count(parser, "--cores", 16, "cores per host for compression")
    parser.add_argument(
        "--partition-bytes",
        type=int,
        default=env.PARTITION_BYTES,
        metavar="BYTES",
        help="BYTEPS_PARTITION_BYTES (default: %(default)s)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables to this file")
    parser.set_defaults(run=bench_predict)


def bench_compressors(options: argparse.Namespace) -> int:
    """Measure the compressors."""
    from byteps_gc.bench.kernels import benchmark

    return benchmark.main(options)


def bench_step(options: argparse.Namespace) -> int:
    """Measure training steps."""
    from byteps_gc.bench import step

    return step.main(options)


def bench_engine(options: argparse.Namespace) -> int:
    """Measure the engine."""
    from byteps_gc.bench.engine import benchmark

    return benchmark.main(options)


def bench_predict(options: argparse.Namespace) -> int:
    """Compare the model of a step with runs, and predict steps."""
    from byteps_gc.bench import prediction

    return prediction.main(options)


def bench_peers(options: argparse.Namespace) -> int:
    """Measure exchanges with this package and other systems."""
    from byteps_gc.bench import model_gradients
    from byteps_gc.bench.peers import benchmark, rows

    options.model = options.model or list(model_gradients.MODELS)
    options.hosts = options.hosts or [2, 4]
    options.rate = options.rate or ["100mbit", "1gbit", rows.UNSHAPED]
    return benchmark.main(options)
