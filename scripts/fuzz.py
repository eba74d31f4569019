#!/usr/bin/env python3
"""Fuzz what reads bytes from the network, with clang's libFuzzer, ASan and UBSan (docs/fuzzing.md).

.venv/bin/python scripts/fuzz.py [--runs N] [--seconds S] [TARGET...]
"""

import argparse
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import time

from byteps_gc.native.build import ISAS, SOURCE, best_isa

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "fuzz"
HARNESS = SOURCE.parent / "fuzz" / "decode.cc"
CODECS = ("onebit", "topk", "randomk", "dithering", "identity")
TARGETS = [f"{codec}-{kind}" for codec in CODECS for kind in ("push", "reply")] + ["options"]
# comparisons are not traced: the harness knows the format, and it is three times as fast
FLAGS = (
    *("-std=c++17", "-O2", "-g", "-ffp-contract=off", "-fno-omit-frame-pointer"),
    *("-fsanitize=fuzzer,address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"),
    "-fno-sanitize-coverage=trace-cmp",
)
# nothing here needs much memory; short stacks and a small quarantine are fast
ASAN = ("malloc_context_size=5", "quarantine_size_mb=16", "max_allocation_size_mb=256")
LONGEST_INPUT = 96


def clang():
    """The newest clang++ that is installed, or None."""
    names = ["clang++", *(f"clang++-{version}" for version in range(30, 10, -1))]
    return next((found for found in map(shutil.which, names) if found), None)


def build(compiler):
    """The fuzzer; compiled if its sources are newer."""
    binary = RUNS / "decode"
    sources = [file for file in sorted(SOURCE.glob("*.cc")) if file.name not in ("plugin.cc", "capi.cc")] + [HARNESS]
    changed = max(file.stat().st_mtime for file in (*SOURCE.iterdir(), HARNESS, Path(__file__)))
    if not binary.is_file() or binary.stat().st_mtime < changed:
        print("fuzz: compiling", flush=True)
        flags = (*FLAGS, *ISAS[best_isa()], f"-I{SOURCE}")
        subprocess.run([compiler, *flags, *map(str, sources), "-o", str(binary)], check=True)
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
    parser = argparse.ArgumentParser(description="Fuzz the decoders. Corpus, findings and logs go to runs/fuzz.")
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
    binary = build(compiler)
    targets = arguments.targets or TARGETS
    sys.exit(int(sum([fuzz(binary, target, arguments.runs, arguments.seconds) for target in targets]) > 0))


if __name__ == "__main__":
    main()
