"""The supervisor of a machine's roles, and the functions that wait for processes and stop them."""

import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from byteps_gc import clock, processes
from byteps_gc.cluster import causes, supervisor
from byteps_gc.errors import ClusterError
from byteps_gc.report import logs
import pytest


def roles(**seconds):
    """Return roles that sleep for these numbers of seconds and exit with status 0."""
    sleep = "import sys, time; time.sleep(float(sys.argv[1]))"
    return [supervisor.Role(name, [sys.executable, "-c", sleep, str(span)], {}) for name, span in seconds.items()]


def test_a_server_that_exits_before_its_workers_is_reported(tmp_path):
    supervision = supervisor.Supervisor(tmp_path, grace=0.5)
    with pytest.raises(ClusterError, match=r"^server exited while workers were still running; log: .*server\.log"):
        supervision.run(roles(server=0, worker=60))


def test_a_suspended_machine_ends_no_job(tmp_path, monkeypatch):
    """Between the exits of server and worker, the clock advances by more than the grace period while nothing runs."""
    supervision, ahead = supervisor.Supervisor(tmp_path, grace=5), [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda real=time.monotonic: real() + ahead[0])

    def stand_still():
        if supervision.left_at is not None and not ahead[0]:
            ahead[0] = 100.0

    supervision.tick = stand_still
    supervision.run(roles(server=0, worker=2))
    assert ahead == [100.0]


def test_time_between_two_polls_is_bounded(monkeypatch):
    now = itertools.chain([10.0, 10.25, 60.0, 60.5])
    monkeypatch.setattr(clock.time, "monotonic", lambda: next(now))
    polling = clock.PollingClock(most=2.0)
    assert [polling.seconds() for _ in range(3)] == [0.25, 2.25, 2.75]


FORKS = """
import os, signal
from byteps_gc.processes import popen
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    popen(["true"]).wait()
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_during_a_fork_is_not_lost(commands):
    """Python ignores what is raised while it runs what a module wants done at a fork, as logging does."""
    result = commands.python("-c", FORKS)
    assert (result.status, result.output) == (0, "interrupted\n")


def child(program):
    """Start a program in a process group of its own; return it once it has printed a line."""
    process = processes.popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    return process


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    print("started", flush=True)
while True:
    time.sleep(60)
"""


def test_stop_ends_a_group_that_ignores_sigterm_and_one_that_is_suspended():
    """The suspended one handles SIGTERM, so it does not need SIGKILL."""
    polite = "import sys, signal; signal.signal(15, lambda *_: sys.exit(3)); print(flush=True); signal.pause()"
    children = [child(STUBBORN), child(polite)]
    os.killpg(children[1].pid, signal.SIGSTOP)
    processes.stop(children, grace=2)
    assert [one.returncode for one in children] == [-signal.SIGKILL, 3]
    assert processes.wait_until(lambda: not any(processes.group_alive(one.pid) for one in children), 10)
    for one in children:
        one.stdout.close()


def test_the_first_failure_ends_the_wait():
    ends = [processes.popen([sys.executable, "-c", f"raise SystemExit({status})"]) for status in (0, 0)]
    assert processes.wait_all(ends) == 0
    sleeper = processes.popen(["sleep", "600"])
    killed = processes.popen(["sleep", "600"])
    killed.send_signal(signal.SIGKILL)
    assert processes.wait_all([sleeper, killed]) == 137
    processes.stop([sleeper], grace=5, groups=False)
    assert sleeper.returncode == -signal.SIGTERM


def test_a_worker_of_two_devices_ends_when_one_process_fails(commands):
    """Its exit status is that of the process."""
    program = "import os, time; time.sleep(600) if os.environ['BYTEPS_LOCAL_RANK'] == '0' else os._exit(5)"
    names = {"DMLC_ROLE": "worker", "NVIDIA_VISIBLE_DEVICES": "0,1", "BYTEPS_NUMA_ON": "0"}
    names.update(DMLC_NUM_WORKER="1", DMLC_NUM_SERVER="1", DMLC_PS_ROOT_URI="127.0.0.1", DMLC_PS_ROOT_PORT="1")
    result = commands.python("-m", "byteps_gc", "role", "--", sys.executable, "-c", program, **names, timeout=60)
    assert (result.status, commands.gone()) == (5, []), result.output


NOISY = "import sys\nwhile True:\n    print('x' * 999, flush=True)"
# runs a command with a file system of 1 MB at the folder "small"
IN_SMALL = ("unshare", "--map-root-user", "--mount", "sh", "-c")
SMALL = 'mkdir small && mount -t tmpfs -o size=1m tmpfs small && exec "$@"'


def launched(*options):
    """Return the command that launches two workers which print for ever."""
    launch = [sys.executable, "-m", "byteps_gc", "launch", "--workers", "2", "--servers", "1", *options]
    return [*launch, "--", sys.executable, "-c", NOISY]


def test_a_full_disk_under_the_logs_ends_the_job(commands):
    """No process waits for the thread that has stopped reading its output."""
    result = commands.run(*IN_SMALL, SMALL, "sh", *launched("--quiet", "--logs", "small"), timeout=60)
    (line,) = result.output.splitlines()
    assert result.status == 1 and re.fullmatch(
        r"byteps_gc: cannot write what (worker-\d|server-0|scheduler) prints to small/.*\.log: No space left on device",
        line,
    ), line
    assert commands.gone() == []


@pytest.mark.parametrize("place, why", [("> /dev/full", "No space left on device"), ("| head -1", "Broken pipe")])
def test_an_output_that_cannot_be_written_ends_the_job(commands, place, why):
    words = " ".join(shlex.quote(word) for word in launched("--logs", "logs"))
    result = commands.run("bash", "-c", f"set -o pipefail; {words} {place}", timeout=60)
    line = result.output.splitlines()[-1]
    assert result.status == 1 and "Traceback" not in result.output, result.output
    assert re.fullmatch(rf"byteps_gc: cannot write what \S+ prints to the standard output: {why}", line), line
    assert commands.gone() == []


def ended(tmp_path, program):
    """Return the reported end of a job whose only role runs a program, and its last lines."""
    with pytest.raises(ClusterError) as caught:
        supervisor.Supervisor(tmp_path).run(
            [supervisor.Role("worker-0", [sys.executable, "-c", program], dict(os.environ))]
        )
    first, *lines = str(caught.value).splitlines()
    assert f"; log: {tmp_path / 'worker-0.log'}" in first
    return first[: first.index("; log: ")], lines


TRACE = "".join(f"[bt] ({n}) /lib/libbyteps.so(+0x2792c) [0x7fca5c02792c]\\n" for n in range(30))
STAMP = "[09:43:49] 3rdparty/ps-lite/src/van.cc:97: "
ABORTS = {
    "ps-lite": f"""
message = "{STAMP}unsupported van type: ibverbs\\n\\nStack trace returned 30 entries:\\n{TRACE}\\n\\n"
os.write(2, ("[09:43:49] 3rdparty/ps-lite/include/dmlc/logging.h:276: " + message).encode())
os.write(2, ("terminate called after throwing an instance of 'dmlc::Error'\\n  what():  " + message).encode())
os.abort()
""",
    "BytePS": """
os.write(2, b"[2026-11-28 09:44:06.251531: F byteps/common/shared_memory.cc:40] Check failed: n no shared memory\\n")
os.abort()
""",
    "ours": "os.write(2, b'byteps: cannot listen on tcp://10.0.0.1:80: Permission denied\\n'); os._exit(98)",
}
SAID = {
    "ps-lite": "was killed by SIGABRT: unsupported van type: ibverbs (van.cc:97)",
    "BytePS": "was killed by SIGABRT: Check failed: n no shared memory (shared_memory.cc:40)",
    "ours": "failed with status 98: cannot listen on tcp://10.0.0.1:80: Permission denied",
}


@pytest.mark.parametrize("engine", ABORTS)
def test_an_abort_of_the_engine_is_reported_with_its_message(tmp_path, engine):
    how, lines = ended(tmp_path, "import os" + "\n" + ABORTS[engine].strip())
    assert how == f"worker-0 {SAID[engine]}"
    assert len(lines) == 1 and logs.tail(tmp_path / "worker-0.log") == [lines[0][len("  worker-0 | ") :]]
    assert "[bt]" not in lines[0] and (engine != "ps-lite" or "[bt]" in (tmp_path / "worker-0.log").read_text())


MEMORY = {
    "bytearray(1 << 60)": "MemoryError",
    "import numpy; numpy.ones(1 << 50)": r"numpy\S*MemoryError: Unable to allocate 8.00 PiB for an array .*",
    "raise RuntimeError('\\nMXNetError: Failed to allocate CPU Memory')": "MXNetError: Failed to allocate CPU Memory",
    "import os; print('  what():  std::bad_alloc', flush=True); os.abort()": r"what\(\):  std::bad_alloc",
}


@pytest.mark.parametrize("program", MEMORY)
def test_running_out_of_memory_is_reported(tmp_path, program):
    how, _ = ended(tmp_path, program)
    assert re.fullmatch(
        rf"worker-0 (failed with status 1|was killed by SIGABRT): out of memory \({MEMORY[program]}\)", how
    )


def test_the_out_of_memory_killer_is_reported(tmp_path, monkeypatch):
    """By its count of the cgroup, or of the machine."""
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert causes.oom_kills() is not None
    killed = "worker-0 was killed by SIGKILL"
    assert ended(tmp_path, kill)[0] == killed
    counts = itertools.count(3)
    monkeypatch.setattr(causes, "oom_kills", lambda: next(counts))
    assert ended(tmp_path, kill)[0] == f"{killed}: out of memory, the kernel's out-of-memory killer has run"
    monkeypatch.setattr(causes, "oom_kills", lambda: None)
    assert ended(tmp_path, kill)[0] == f"{killed}, often sent by the kernel's out-of-memory killer"


def test_kills_are_counted_in_the_own_cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(causes, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(causes, "MACHINE", tmp_path / "vmstat")
    monkeypatch.setattr(causes, "MEMORY_CGROUPS", [(str(tmp_path), "memory.events")])
    assert causes.oom_kills() is None
    (tmp_path / "vmstat").write_text("nr_free_pages 17\noom_kill 1\n")
    assert causes.oom_kills() == 1
    (tmp_path / "memory.events").write_text("oom 9\noom_kill 2\n")
    assert causes.oom_kills() == 2
    (tmp_path / "cgroup").write_text("0::/job\n")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.events").write_text("oom 9\noom_kill 3\noom_group_kill 0\n")
    assert causes.oom_kills() == 3
