"""The benchmarks' command lines."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc import env


def add(commands: Any) -> None:
    """Add ``bench`` and its subcommands to a parser's commands."""
    bench = commands.add_parser("bench", help="benchmark against stock BytePS and other systems")
    subjects = bench.add_subparsers(dest="subject", metavar="BENCHMARK", required=True)
    add_compressors(subjects)
    add_step(subjects)
    add_engine(subjects)
    add_peers(subjects)
    add_predict(subjects)


def add_compressors(subjects: Any) -> None:
    """Add ``bench compressors``."""
    parser = subjects.add_parser("compressors", help="measure speed and error of every compressor")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="measurements per median (default: 9)")
    parser.add_argument("--partitions", type=int, default=15, metavar="N", help="compress N x 4096000 B (default: 15)")
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
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="batch size per worker (default: 32)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="number of workers (default: 2)")
    parser.add_argument("--servers", type=int, default=2, metavar="N", help="number of servers (default: 2)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps per job and round (default: 20)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds per median (default: 5)")
    parser.add_argument(
        "--job", action="append", default=[], metavar="NAME", help="measure only this job and the baseline (repeatable)"
    )
    parser.set_defaults(run=bench_step)


def add_engine(subjects: Any) -> None:
    """Add ``bench engine``."""
    parser = subjects.add_parser("engine", help="measure an idle cluster, a step, an exchange and a server's CPU time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all values to this file")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds per median (default: 3)")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="training steps per round (default: 200)")
    parser.add_argument(
        "--exchange-rounds", type=int, default=20, metavar="N", help="exchanges per round (default: 20)"
    )
    parser.add_argument(
        "--idle-seconds", type=float, default=10.0, metavar="SECONDS", help="time that the cluster idles (default: 10)"
    )
    parser.add_argument(
        "--servers-per-host", type=int, default=1, metavar="N", help="servers per host in the exchange (default: 1)"
    )
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
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="turns per system (default: 2)")
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
    parser.add_argument(
        "--cores", type=int, default=16, metavar="N", help="cores per host for compression (default: 16)"
    )
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
