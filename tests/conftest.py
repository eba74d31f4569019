"""Fixtures that run the project's own commands as a user would, and leave nothing behind."""

import contextlib
from dataclasses import dataclass
import importlib.util
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Iterator, List, Optional

import byteps_gc.before_mxnet  # noqa: F401  MXNet needs it
import pytest

import marks

if importlib.util.find_spec("hypothesis"):  # PyTorch's environment has none
    import hypothesis

    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))
# all that tests start inherits it: threads of NumPy's BLAS cost half of the time of importing NumPy
os.environ["OPENBLAS_NUM_THREADS"] = "1"
PROGRAMS = ROOT / "tests" / "programs"
EXAMPLE = ROOT / "example" / "mxnet" / "gradient_compression"
# for scripts that set up: this environment, as its own Python would set it up
THIS_PYTHON = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info[:2]))
SET_UP = {"BYTEPS_GC_VENV": sys.prefix, "BYTEPS_GC_BASE_PYTHON": str(THIS_PYTHON)}
TRAIN = EXAMPLE / "train_cifar100_byteps_gc.py"
# what a worker runs that exchanges until it is ended, and says when it does
FOR_EVER = """
import time, byteps_gc.numpy as bps, numpy as np
bps.init()
for number in range(10**9):
    bps.push_pull(np.ones(1000, np.float32), "a")
    if number % 100 == 3:
        print("running at", time.monotonic(), flush=True)
"""
FOR_EVER_IN_MXNET = """
import time, byteps_gc.mxnet as bps, mxnet as mx
bps.init()
for number in range(10**9):
    mx.nd.waitall()
    a = mx.nd.ones(1000)
    bps.push_pull(a, name="a")
    a.wait_to_read()
    if number % 100 == 3:
        print("running at", time.monotonic(), flush=True)
"""


def pytest_collection_modifyitems(items):
    """Begin with the long tests, and leave those that start no cluster for the end, which they fill."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("slow", "cluster")])


@dataclass
class Result:
    """What a command printed (both streams together) and how it ended."""

    status: int
    output: str


class Commands:
    """Starts commands in sessions of their own, with a mark in their environment by which all they start is found."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.mark = f"BYTEPS_GC_TEST={os.getpid()}-{time.time_ns()}"
        self.started: List[subprocess.Popen] = []

    def environment(self, **extra: str) -> dict:
        """A clean environment: nothing of the caller's cluster, only what the test asks for."""
        prefixes = ("BYTEPS_", "DMLC_", "OMP_", "NVIDIA_", "PYTHONPATH")
        env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        for name in ("BYTEPS_GC_CACHE",):
            if name in os.environ:
                env[name] = os.environ[name]
        name, _, value = self.mark.partition("=")
        env.update({name: value, **extra})
        return env

    def start(self, *command: object, cwd: Optional[Path] = None, **env: str) -> subprocess.Popen:
        """Start a command without waiting for its end."""
        child = subprocess.Popen(
            [str(word) for word in command],
            cwd=str(cwd or self.folder),
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(child)
        return child

    def run(self, *command: object, timeout: float = 240, cwd: Optional[Path] = None, **env: str) -> Result:
        """Run a command to its end; one that takes longer than ``timeout`` seconds fails the test."""
        child = self.start(*command, cwd=cwd, **env)
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end()
            output, _ = child.communicate()
            pytest.fail(f"{command[0]} was still running after {timeout} s:\n{output[-3000:]}")
        return Result(child.returncode, output)

    def python(self, *command: object, **options) -> Result:
        """Run this Python."""
        return self.run(sys.executable, *command, **options)

    def launch(self, *command: object, workers: int = 2, servers: int = 2, **options) -> Result:
        """Run a program on a cluster of this machine."""
        roles = ("--workers", workers, "--servers", servers)
        return self.python("-m", "byteps_gc", "launch", *roles, "--", sys.executable, *command, **options)

    def alive(self) -> List[marks.Process]:
        """All processes that descend from what was started, wherever they are now."""
        return list(marks.processes(self.mark))

    def role(self, name: str) -> marks.Process:
        """The process of a role that a launcher or run.sh has started or will soon."""
        return marks.role(name, self.alive)

    def gone(self, seconds: float = 15) -> List[marks.Process]:
        """Wait until nothing is left; returns what is left after ``seconds``."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.alive()

    def end(self) -> None:
        """Kill what is left of what this test started."""
        for process in self.alive():
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@contextlib.contextmanager
def commands_in(folder: Path) -> Iterator[Commands]:
    """Runs commands in a folder; a process that outlives its command fails the test."""
    runner = Commands(folder)
    try:
        yield runner
    finally:
        left = runner.gone(5)
        runner.end()
    assert not left, f"processes were left behind: {left}"


@pytest.fixture
def commands(tmp_path):
    """Runs commands in a temporary folder."""
    with commands_in(tmp_path) as runner:
        yield runner


@pytest.fixture
def attacked(commands):
    """Starts a job (:class:`attacked_job.Job`) with the options given, which ends with the test."""
    from attacked_job import Job

    yield lambda pace=None, **options: Job(commands, **options).start(pace).warm_up()
    commands.end()


@pytest.fixture(scope="session")
def machine():
    """Root, the Debian packages and the kernel's namespaces; otherwise the test is skipped."""
    from byteps_gc.cluster.namespaces import NamespaceHosts
    from byteps_gc.errors import ClusterError

    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    import debian_packages

    try:
        debian_packages.install(["iproute2", "openssh-server", "pssh", "dataset-fashion-mnist"])
        with NamespaceHosts(1, rate="1gbit"):
            pass
    except (SystemExit, ClusterError) as error:
        pytest.skip(f"this machine cannot be several hosts: {error}")


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The digests of such a job that nobody attacks."""
    from attacked_job import undisturbed

    with commands_in(tmp_path_factory.mktemp("reference")) as runner:
        return undisturbed(runner)
