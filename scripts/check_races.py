"""Exchange with every compressor under ThreadSanitizer: .venv/bin/python scripts/check_races.py [--steps 500]

Build the engine and the compressors with ThreadSanitizer, and run clusters of two workers and two servers whose workers
pause at random moments: with the NumPy front end, with MXNet's push_pull, and with bps.join(). Fail if a data race is
reported in our code, BytePS's or ps-lite's. SUPPRESSED lists the exceptions with their reasons. Needs g++'s libtsan and
setarch (util-linux).
"""

import argparse
import json
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile
import zipfile

from soak import COMPRESSORS, PROGRAMS

SUPPRESSED = """
# OpenMP's library is not instrumented; every process has one thread of it
called_from_lib:libgomp
# MXNet frees an array when its last owner goes: it counts owners with atomics in its library, which is not instrumented
race:mxnet::StorageImpl::Free
"""
# two workers with different numbers of batches, which join
UNEVEN = [[[[1, 4], [3, 0]], params, False] for params in ({}, {"compressor": "onebit", "ef": "vanilla"})]
OURS = re.compile(r"c_lib\.so|byteps_gc-\w+-\w+\.so")


def races(report):
    """The warnings in a report that have one of our libraries in the way to an access."""
    for part in report.split("=" * 18):
        accesses = "".join(part.split("\n\n")[:2])
        if "WARNING: ThreadSanitizer" in part and OURS.search(accesses):
            yield part.strip()


def run(words, mark, engine, folder):
    """Run a program on a cluster, whose workers say ``mark`` at their end; return the races that were reported."""
    (folder / "suppressed").write_text(SUPPRESSED)
    env = dict(os.environ, PYTHONPATH=str(engine), LD_PRELOAD="libtsan.so.2", BYTEPS_GC_SANITIZE="thread", STOPS="1")
    env.update(OMP_NUM_THREADS="1", BYTEPS_MIN_COMPRESS_BYTES="2000", BYTEPS_PARTITION_BYTES="4096")
    env.update(BYTEPS_GC_SLOT_BYTES="1024")
    options = f"suppressions={folder}/suppressed log_path={folder}/report exitcode=0 history_size=7"
    done = subprocess.run(
        ["setarch", "-R", sys.executable, "-m", "byteps_gc", "launch", "--logs", "logs", "--", sys.executable, *words],
        env=dict(env, TSAN_OPTIONS=options),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode or done.stdout.count(mark) != 2:
        sys.exit(f"check_races: {words}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    return [race for file in folder.glob("report.*") for race in races(file.read_text())]


def programs(steps):
    """Yield name, words and mark of what is run: every compressor, MXNet's push_pull, and workers that join."""
    for params in COMPRESSORS:
        words = [str(PROGRAMS / "descent.py"), str(steps), json.dumps({"params": params})]
        yield f"{params or 'uncompressed'}: {steps} steps", words, "RESULT "
    yield f"MXNet: {steps} rounds", [str(PROGRAMS / "exchange.py"), "mxnet", str(steps)], f"{steps} rounds exact"
    yield "join", [str(PROGRAMS / "uneven.py"), json.dumps(UNEVEN)], f"as the model {UNEVEN[-1][0]} {UNEVEN[-1][1]}"


def main():
    """Build, train, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="steps of each compressor (default: 500)")
    parser.add_argument(
        "--only", type=int, help="run only this compressor, by its index from 0; the last one is a run with bps.join()"
    )
    parser.add_argument("--without", metavar="FIXUP", help="leave out a fix-up, whose race should be reported")
    options = parser.parse_args()
    build = [sys.executable, "-m", "byteps_gc", "engine", "build", "--engine-only", "--sanitize", "thread"]
    build += ["--without", options.without] if options.without else []
    wheel = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    found = 0
    with tempfile.TemporaryDirectory(prefix="byteps_gc-races-") as folder:
        engine = Path(folder, "engine")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(engine)
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from byteps_gc.native import binding, build; build.build(build.best_isa(), binding.flags())",
            ],
            env=dict(os.environ, BYTEPS_GC_SANITIZE="thread"),
            check=True,
        )
        for number, (name, words, mark) in enumerate(programs(options.steps)):
            if options.only in (None, number):
                place = Path(folder, str(number))
                place.mkdir()
                reported = run(words, mark, engine, place)
                print(f"{name}, {len(reported)} races", flush=True)
                for race in reported:
                    print(race, flush=True)
                found += len(reported)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
