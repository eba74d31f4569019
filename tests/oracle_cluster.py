"""A cluster whose workers execute operations that this process sends them."""

import contextlib
from multiprocessing.connection import Connection
import os
from pathlib import Path
import secrets
import signal
import socket
import subprocess
import sys
import time

TESTS = Path(__file__).resolve().parent
KEY = "ORACLE_KEY"  # variable with what a worker must say before it is listened to
SIZES = {"BYTEPS_MIN_COMPRESS_BYTES": "2000", "BYTEPS_PARTITION_BYTES": "4096"}
START, ANSWER, STOP = 90, 60, 20  # seconds
ANSWER_AGAIN = 15  # seconds, after a worker has not answered: the same program is tried again, and made smaller


class ClusterFailure(AssertionError):
    """A worker raised an error, died or did not answer."""


def connect(address, rank):
    """Connect a worker to the test at HOST:PORT."""
    host, port = address.split(":")
    connection = Connection(socket.create_connection((host, int(port))).detach())
    connection.send_bytes(f"{os.environ[KEY]} {rank}".encode())
    return connection


class Cluster:
    """A scheduler, servers and workers, started at the first operation and again after a failure.

    commands: a conftest.Commands, for the environment and to find what was started.
    """

    def __init__(self, commands, workers, servers=2):
        self.commands, self.workers, self.servers = commands, workers, servers
        self.folder = commands.folder
        self.log = self.folder / "cluster.log"
        self.launcher = None
        self.connections = []
        self.patience = ANSWER

    def send(self, op):
        """Let all workers begin an operation."""
        if not self.launcher:
            self.start()
        with self.living(op):
            for connection in self.connections:
                connection.send(op)

    def answers(self, op):
        """Return all workers' answers, in the order of ranks."""
        with self.living(op):
            found = [self.answer(rank, op) for rank in range(self.workers)]
        return found

    @contextlib.contextmanager
    def living(self, op):
        """Report a worker that has died."""
        try:
            yield
        except (EOFError, OSError) as error:
            self.fail(f"a worker has died in {op['do']}: {error!r}")

    def answer(self, rank, op):
        """Return a worker's answer."""
        if not self.connections[rank].poll(self.patience):
            patience, self.patience = self.patience, ANSWER_AGAIN
            self.fail(f"worker {rank} has not answered {op['do']} in {patience} s")
        answer = self.connections[rank].recv()
        if "error" in answer:
            self.fail(f"worker {rank} failed in {op['do']}:\n{answer['error']}")
        return answer

    def start(self):
        """Launch the cluster and wait for its workers."""
        key = secrets.token_hex(16)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(self.workers)
            listener.settimeout(1)
            self.launch("{}:{}".format(*listener.getsockname()), key)
            found = {}
            deadline = time.monotonic() + START
            while len(found) < self.workers:
                if time.monotonic() > deadline or self.launcher.poll() is not None:
                    self.fail("the cluster has not started")
                with contextlib.suppress(socket.timeout):
                    found.update(accept(listener, key))
        self.connections = [found[rank] for rank in range(self.workers)]

    def launch(self, address, key):
        """Start the launcher in a session of its own; its output goes to the log."""
        roles = ("--workers", str(self.workers), "--servers", str(self.servers))
        program = (sys.executable, str(TESTS / "programs" / "oracle_worker.py"), address)
        env = self.commands.environment(**SIZES, **{KEY: key})
        env["PYTHONPATH"] = str(TESTS)
        with open(self.log, "wb") as log:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "byteps_gc", "launch", *roles, "--", *program],
                cwd=str(self.folder),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def fail(self, text):
        """Kill the cluster and raise :class:`ClusterFailure`; the next operation starts another one."""
        self.kill()
        tail = self.log.read_text(errors="replace")[-2000:]
        raise ClusterFailure(f"{text}\n--- last output of the cluster ---\n{tail}") from None

    def hang_up(self):
        """Close the connections, which ends the workers."""
        for connection in self.connections:
            connection.close()
        self.connections = []

    def kill(self):
        """Kill all processes of the cluster."""
        self.hang_up()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.launcher.pid, signal.SIGKILL)
        self.launcher.wait()
        self.commands.end()
        self.launcher = None

    def stop(self):
        """End the cluster; :class:`ClusterFailure` if it does not end with status 0."""
        if not self.launcher:
            return
        self.hang_up()
        try:
            status = self.launcher.wait(STOP)
        except subprocess.TimeoutExpired:
            self.fail(f"the cluster has not ended in {STOP} s")
        if status:
            self.fail(f"the cluster ended with status {status}")
        self.launcher = None


def accept(listener, key):
    """Accept one worker; return its connection by its rank."""
    connected, _ = listener.accept()
    connected.setblocking(True)
    connection = Connection(connected.detach())
    given, rank = connection.recv_bytes(100).decode().split()
    if not secrets.compare_digest(given, key):
        connection.close()
        return {}
    return {int(rank): connection}
