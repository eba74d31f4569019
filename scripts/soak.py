"""Run clusters repeatedly, and count the failures: .venv/bin/python scripts/soak.py --minutes 60

Alternates between five kinds of runs, until the time is over or each has run --runs times:
  race         push_pull of many tensors with workers paused at random: every sum is checked; 2, 4 and 8 workers in
               turn, through shared memory and through sockets, with the NumPy and the MXNet front end
  compressors  500 steps with each compressor with workers paused at random: all workers end with equal parameters
  ends         start, train, stop with all cores busy: status 0 within 5 s of the last step, nothing left behind
  faults       a random process is killed or stopped: all others end, name it, and exit with the right status
  attacks      a job is attacked from the network and by local users, and connections are reset: its sums stay the same
A failure is printed with the output of its run; the exit status is then 1.
"""

import argparse
import contextlib
import itertools
import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import tempfile
import time

from byteps_gc.cluster.supervisor import PEER_LOST
from byteps_gc.compressors import kinds
from byteps_gc.processes import exit_on_sigterm

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

import marks  # noqa: E402

PROGRAMS = TESTS / "programs"
EF = {"ef": "vanilla", "momentum": "nesterov"}
COMPRESSORS = (
    {},
    *({"compressor": kind.name, **kind.examples[-1], **EF} for kind in kinds()),
    {"fp16": True},
)
SLOTS = ("1024", "1000000000")  # bytes from which values go through shared memory: most of a run's, or none
FRONT_ENDS = ("numpy", "mxnet")
LIMIT = 4  # seconds of silence that are a death, of the runs in which one is wanted
PROMPT = 5  # seconds in which a job ends after its last step
NOTICED = 10  # seconds in which all end when a death has been detected
FIT = [PROGRAMS / "descent.py", "40", "{}"]
FOR_EVER = [PROGRAMS / "descent.py", "100000000", "{}"]


class Failure(Exception):
    """Something that should not have happened."""


def demand(holds, what):
    """A :class:`Failure` unless it holds."""
    if not holds:
        raise Failure(what)


class Launch:
    """A cluster of this machine, all of whose processes are found by a mark in their environment."""

    def __init__(self, folder, program, workers=2, servers=2, **env):
        self.mark = f"BYTEPS_GC_SOAK={os.getpid()}-{time.time_ns()}"
        self.logs = Path(folder, str(time.time_ns()))
        name, _, value = self.mark.partition("=")
        roles = ["--workers", str(workers), "--servers", str(servers), "--logs", str(self.logs)]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "byteps_gc", "launch", *roles, "--", sys.executable, *map(str, program)],
            env={**os.environ, name: value, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )
        self.output = ""

    def until(self, text, times=1):
        """Read until a line has come so often."""
        while self.output.count(text) < times:
            line = self.child.stdout.readline()
            demand(line, f"the job has ended:\n{self.output}")
            self.output += line

    def end(self, seconds):
        """Its status; a :class:`Failure` if it takes longer."""
        try:
            self.output += marks.rest_of_output(self.child, seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"still running after {seconds} s:\n{self.output[-3000:]}") from None
        return self.child.returncode

    def processes(self):
        """The processes that descend from it."""
        return list(marks.processes(self.mark))

    def kill(self):
        """End what is left."""
        self.child.kill()
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def launched(*words, **options):
    """A :class:`Launch` that leaves nothing behind: a :class:`Failure` if it would."""
    shared = set(os.listdir("/dev/shm"))
    run = Launch(*words, **options)
    try:
        yield run
        deadline = time.monotonic() + 2
        while run.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        demand(not run.processes(), f"left behind: {run.processes()}")
        more = [name for name in set(os.listdir("/dev/shm")) - shared if "byteps" in name.lower()]
        demand(not more, f"shared memory left behind: {more}")
    finally:
        run.kill()


def race(folder, number, rng):
    """One run of the race test."""
    workers, slots = (2, 4, 8)[number % 3], SLOTS[number // 3 % 2]
    program = [PROGRAMS / "exchange.py", FRONT_ENDS[number // 6 % 2], "200"]
    with launched(folder, program, workers=workers, BYTEPS_GC_SLOT_BYTES=slots) as run:
        demand(run.end(600) == 0, run.output[-3000:])
        demand(run.output.count("200 rounds exact") == workers, run.output[-3000:])


def compressors(folder, number, rng):
    """500 steps with one compressor."""
    params = COMPRESSORS[number % len(COMPRESSORS)]
    env = {"STOPS": "1", "BYTEPS_MIN_COMPRESS_BYTES": "2000", "BYTEPS_PARTITION_BYTES": "4096"}
    env["BYTEPS_GC_SLOT_BYTES"] = rng.choice(SLOTS)
    with launched(folder, [PROGRAMS / "descent.py", "500", json.dumps({"params": params})], **env) as run:
        demand(run.end(600) == 0, run.output[-3000:])
        results = [json.loads(line.split("RESULT ")[1]) for line in run.output.splitlines() if "RESULT " in line]
        demand(len(results) == 2 and all(one["finite"] for one in results), run.output[-3000:])
        demand(len({one["parameters"] for one in results}) == 1, f"{params}: the workers' parameters differ")


def ends(folder, number, rng):
    """Start, train, stop, with both cores busy."""
    burn = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(burn) for _ in range(os.cpu_count() or 1)]
    try:
        with launched(folder, FIT) as run:
            run.until("RESULT", times=2)
            last = time.monotonic()
            demand(run.end(60) == 0, run.output[-3000:])
            took = time.monotonic() - last
            demand(took < PROMPT, f"ended {took:.1f} s after the last step")
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def faults(folder, number, rng):
    """A process is killed or stopped at a random moment."""
    victim = rng.choice(["scheduler", "server-0", "server-1", "worker-0", "worker-1"])
    sig = rng.choice([signal.SIGKILL, signal.SIGSTOP])
    with launched(folder, FOR_EVER, BYTEPS_GC_DEATH_TIMEOUT=str(LIMIT), BYTEPS_GC_START_TIMEOUT="60") as run:
        run.until("Creating Van", times=5)
        time.sleep(0.5 + rng.random() * 4)  # all have met by then
        os.kill(marks.role(victim, run.processes).pid, sig)
        status = run.end(NOTICED + (LIMIT if sig == signal.SIGSTOP else 0))
        last = [line for line in run.output.splitlines() if line.startswith("byteps_gc: ")]
        demand(status == (PEER_LOST if sig == signal.SIGSTOP else 128 + sig), f"status {status}:\n{run.output[-3000:]}")
        demand(last and victim in last[-1], f"{victim} is not named:\n{run.output[-3000:]}")


def attacks(folder, number, rng):
    """All attacks and resets of the tests."""
    files = [TESTS / name for name in ("test_attacks.py", "test_local_attacks.py", "test_resets.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    done = subprocess.run(command, cwd=TESTS.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    demand(done.returncode == 0, done.stdout[-6000:])


PARTS = {part.__name__: part for part in (race, compressors, ends, faults, attacks)}


def main():
    """Run, print a line a run and a table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no run after this time (default: 60)")
    parser.add_argument(
        "--runs", type=int, help="maximum number of runs of each kind (default: until the time is over)"
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="run only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="seed for the faults and their times (default: 0)")
    options = parser.parse_args()
    exit_on_sigterm()
    parts = {name: PARTS[name] for name in options.part or PARTS}
    done, failed, rng = dict.fromkeys(parts, 0), dict.fromkeys(parts, 0), random.Random(options.seed)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="byteps_gc-soak-") as folder:
        for number, name in ((number, name) for number in itertools.count() for name in parts):
            if number == options.runs or time.monotonic() - begun > 60 * options.minutes:
                break
            start, verdict = time.monotonic(), "good"
            try:
                parts[name](folder, number, rng)
            except Failure as failure:
                verdict = f"FAILED: {failure}"
                failed[name] += 1
            done[name] += 1
            print(f"{name} {number + 1}: {time.monotonic() - start:.1f} s, {verdict}", flush=True)
    print(f"\n{(time.monotonic() - begun) / 60:.0f} minutes\n\n| part | runs | failed |\n| --- | ---: | ---: |")
    for name in parts:
        print(f"| {name} | {done[name]} | {failed[name]} |")
    sys.exit(1 if any(failed.values()) else 0)


if __name__ == "__main__":
    main()
