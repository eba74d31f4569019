"""The benchmarks' command lines."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc import env


def add(commands: Any) -> None:
    """Add ``bench`` and its subjects to a parser's commands."""
    bench = commands.add_parser("bench", help="measure, beside BytePS as released, in one run")
    subjects = bench.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    compressors = subjects.add_parser("compressors", help="speed and error of every compressor")
    compressors.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    compressors.add_argument("--repeats", type=int, default=9, help="default: 9; medians are shown")
    compressors.add_argument("--partitions", type=int, default=15, help="of 4096000 bytes, in turn; default: 15")
    compressors.add_argument("--codec", action="append", default=[], metavar="NAME", help="topk or 'topk k=0.1'")
    compressors.set_defaults(run=bench_compressors)
    step = subjects.add_parser("step", help="a training step with every compressor")
    step.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to this file")
    step.add_argument("--model", default="resnet18_v2", help="of GluonCV, on images of 32 x 32; default: resnet18_v2")
    step.add_argument("--batch-size", type=int, default=32, help="of each worker; default: 32")
    step.add_argument("--workers", type=int, default=2, help="default: 2")
    step.add_argument("--servers", type=int, default=2, help="default: 2")
    step.add_argument("--steps", type=int, default=20, help="of each job in each round; default: 20")
    step.add_argument("--rounds", type=int, default=5, help="default: 5; medians are shown")
    step.add_argument("--job", action="append", default=[], metavar="NAME", help="measure only this one; repeatable")
    step.set_defaults(run=bench_step)
    whole = subjects.add_parser("engine", help="the engine: waiting, training, exchanging, serving more workers")
    whole.add_argument("--json", type=Path, metavar="FILE", help="also write all values to this file")
    whole.add_argument("--rounds", type=int, default=3, help="of everything, in turn; default: 3; medians are shown")
    whole.add_argument("--steps", type=int, default=200, help="that are trained; default: 200")
    whole.add_argument("--exchange-rounds", type=int, default=20, help="of a model's gradients; default: 20")
    whole.add_argument("--idle-seconds", type=float, default=10.0, help="that the workers wait; default: 10")
    whole.add_argument("--servers-per-host", type=int, default=1, help="where gradients are exchanged; default: 1")
    whole.add_argument("--static", action="store_true", help="train a net whose gradients come all at once")
    whole.add_argument("--only", action="append", default=[], metavar="NAME", help="idle, step, exchange or server")
    whole.add_argument("--no-released", action="store_true", help="leave out BytePS as released")
    whole.set_defaults(run=bench_engine)
    peers = subjects.add_parser("peers", help="an exchange of gradients between hosts on one machine, beside peers")
    peers.add_argument("--json", type=Path, metavar="FILE", help="keep rows there; goes on with what it has already")
    peers.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    peers.add_argument("--model", action="append", metavar="NAME", help="resnet18_v2, resnet50_v2 or vgg16; repeatable")
    peers.add_argument("--hosts", action="append", type=int, metavar="N", help="default: 2 and 4; repeatable")
    peers.add_argument("--rate", action="append", metavar="RATE", help="of links: 100mbit, 1gbit, unshaped; repeatable")
    peers.add_argument("--peer", action="append", default=[], metavar="NAME", help="measure only this one; repeatable")
    peers.add_argument("--repeats", type=int, default=2, help="turns that each takes; default: 2")
    peers.set_defaults(run=bench_peers)
    foretell = subjects.add_parser("foretell", help="a step on other networks, from runs or from kernels")
    foretell.add_argument(
        "folder", nargs="*", type=Path, metavar="FOLDER", help="of reproduce.sh: with rates, and without"
    )
    foretell.add_argument("--compute", action="append", default=[], metavar="MODEL=SECONDS", help="of a step on 8 GPUs")
    foretell.add_argument("--compressors", type=Path, metavar="FILE", help="what bench compressors --json wrote")
    foretell.add_argument("--cores", type=int, default=16, help="of a host, that compress; default: 16")
    foretell.add_argument(
        "--partition-bytes",
        type=int,
        default=env.PARTITION_BYTES,
        metavar="BYTES",
        help="BYTEPS_PARTITION_BYTES; default: %(default)s",
    )
    foretell.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables there")
    foretell.set_defaults(run=bench_foretell)


def bench_compressors(options: argparse.Namespace) -> int:
    """Measure the compressors."""
    from byteps_gc.bench import compressors

    return compressors.main(options)


def bench_step(options: argparse.Namespace) -> int:
    """Measure training steps."""
    from byteps_gc.bench import step

    return step.main(options)


def bench_engine(options: argparse.Namespace) -> int:
    """Measure the engine."""
    from byteps_gc.bench import engine

    return engine.main(options)


def bench_foretell(options: argparse.Namespace) -> int:
    """Hold the model of a step against runs, and read it off."""
    from byteps_gc.bench import step_model

    return step_model.main(options)


def bench_peers(options: argparse.Namespace) -> int:
    """Measure exchanges beside peers."""
    from byteps_gc.bench import peer_rows, peers, shapes

    options.model = options.model or list(shapes.MODELS)
    options.hosts = options.hosts or [2, 4]
    options.rate = options.rate or ["100mbit", "1gbit", peer_rows.UNSHAPED]
    return peers.main(options)
