#!/usr/bin/env python3
"""Fuzz what reads bytes from other processes, with clang's libFuzzer, ASan and UBSan (docs/fuzzing.md).

.venv/bin/python scripts/fuzz.py [--runs N] [--seconds S] [TARGET...]
"""

import argparse
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile
import time

from byteps_gc import env
from byteps_gc.compressors import known
from byteps_gc.engine import fixups, source
from byteps_gc.engine.compile import PS_LITE
from byteps_gc.native.build import ISAS, SOURCE, best_isa

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "fuzz"
HARNESS = SOURCE.parent / "fuzz"
DECODERS = [f"{codec}-{kind}" for codec in known() for kind in ("push", "reply")] + ["options"]
ENGINE = ["message-scheduler", "message-server", "message-worker", "liveness", "regions", "requests"]
TARGETS = DECODERS + ENGINE
SANITIZERS = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
# comparisons are not traced: the harness knows the format, and it is three times as fast
FLAGS = (
    *("-std=c++17", "-O2", "-g", "-ffp-contract=off", "-fno-omit-frame-pointer"),
    *("-fsanitize=fuzzer", *SANITIZERS, "-fno-sanitize-coverage=trace-cmp"),
)
DECODER_FLAGS = ("-Wall", "-Wextra", f"-I{SOURCE}")
# The harness stands in for libzmq, OpenMP and the server's threads; clang 14 knows too few processor features.
ENGINE_FLAGS = (
    *("-w", "-DZMQ_BUILD_DRAFT_API=1", "-DBYTEPS_BUILDING_SERVER", "-D__builtin_cpu_supports(feature)=0"),
    *(f"-I{HARNESS}", "-I.", "-I3rdparty/ps-lite/src", "-I3rdparty/ps-lite/include", f"-I{source.LIBZMQ}/include"),
    *(word for header in ("cstdint", "cstring", "memory", "string") for word in ("-include", header)),
)
ENGINE_COVERAGE = f"-fsanitize-coverage-allowlist={HARNESS / 'coverage.txt'}"
# nothing here needs much memory; short stacks and a small quarantine are fast
ASAN = ("malloc_context_size=5", "quarantine_size_mb=16", "max_allocation_size_mb=256")
LONGEST_INPUT = 96  # bytes


def decoder_sources():
    """What a fuzzer of the decoders is compiled from."""
    library = [file for file in sorted(SOURCE.glob("*.cc")) if file.name not in ("plugin.cc", "capi.cc")]
    return [*library, HARNESS / "decode.cc"]


def engine_sources():
    """What a fuzzer of the engine is compiled from, in the engine's source tree."""
    names = ("engine", "liveness", "message", "network", "process", "regions", "requests")
    common = ("common", "cpu_reducer", "logging")
    # process.cc includes van.cc, and requests.cc the server and the table of compressors
    return [
        *(HARNESS / f"{name}.cc" for name in names),
        *(file for file in PS_LITE if not file.endswith("van.cc")),
        *(f"byteps/common/{name}.cc" for name in common),
    ]


def engine_tree(folder):
    """Unpack the engine's source in a folder, with our fix-ups; return its root."""
    tree = source.unpack(source.fetch(env.cache_folder() / "engine"), folder)
    fixups.apply(tree, fixups.select())
    return tree


def clang():
    """The newest clang++ that is installed, or None."""
    names = ["clang++", *(f"clang++-{version}" for version in range(30, 10, -1))]
    return next((found for found in map(shutil.which, names) if found), None)


def build(compiler, engine):
    """The fuzzer of the engine or of the decoders; compiled if its sources are newer."""
    binary = RUNS / ("engine" if engine else "decode")
    ours = [SOURCE, HARNESS, *([fixups.FOLDER, fixups.FILES, fixups.FILES.parent] if engine else [])]
    changed = max(file.stat().st_mtime for folder in ours for file in (*folder.iterdir(), Path(__file__)))
    if binary.is_file() and binary.stat().st_mtime > changed:
        return binary
    print("fuzz: compiling", flush=True)
    flags = (*FLAGS, *ISAS[best_isa()], *((*ENGINE_FLAGS, ENGINE_COVERAGE) if engine else DECODER_FLAGS))
    with tempfile.TemporaryDirectory(dir=RUNS) as folder:
        tree = engine_tree(Path(folder)) if engine else folder
        sources = engine_sources() if engine else decoder_sources()
        compiled = subprocess.run([compiler, *flags, *map(str, sources), "-o", str(binary)], check=False, cwd=tree)
    if compiled.returncode:
        hint = "if libclang_rt is missing: apt-get install libclang-rt-dev"
        sys.exit(f"fuzz: {compiler} failed with status {compiled.returncode}; {hint}")
    return binary


def fuzz(binary, target, runs, seconds):
    """Run one target; prints one line and returns the number of findings."""
    corpus, findings, log = (RUNS / kind / target for kind in ("corpus", "findings", "log"))
    for folder in (corpus, findings, log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    limits = [f"-runs={runs}", f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-timeout=20", "-seed=1"]
    words = [str(binary), target, *limits, "-print_final_stats=1", f"-artifact_prefix={findings}/", str(corpus)]
    options = dict(os.environ, ASAN_OPTIONS=":".join(ASAN))
    begin = time.monotonic()
    with open(log, "wb") as output:
        status = subprocess.run(words, env=options, stdout=output, stderr=output, check=False).returncode
    executed = re.search(rb"number_of_executed_units: (\d+)", log.read_bytes())
    new = sorted(set(findings.iterdir()) - before)
    count = len(new) or int(status != 0)
    line = f"{int(executed.group(1)) if executed else 0} executions, {time.monotonic() - begin:.0f} s, {count} findings"
    print(f"{target}: {line}{''.join(f' {path}' for path in new or [log] * bool(count))}", flush=True)
    return count


def main():
    """Fuzz the targets that are asked for; status 1 if one has a finding."""
    parser = argparse.ArgumentParser(
        description="Fuzz the decoders and the engine. Corpus, findings and logs go to runs/fuzz."
    )
    parser.add_argument("--runs", type=int, default=10**7, help="executions of each target (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=0, help="stop a target after this time (default: never)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{' '.join(TARGETS)} (default: all)")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target {min(unknown)}; known: {', '.join(TARGETS)}")
    compiler = clang()
    if not compiler:
        sys.exit("fuzz: clang++ is not installed; on Debian or Ubuntu: apt-get install clang")
    RUNS.mkdir(parents=True, exist_ok=True)
    findings = 0
    for target in arguments.targets or TARGETS:
        findings += fuzz(build(compiler, target in ENGINE), target, arguments.runs, arguments.seconds)
    sys.exit(int(findings > 0))


if __name__ == "__main__":
    main()
