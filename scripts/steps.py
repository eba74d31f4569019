"""The steps of the set-up: commands, one line of progress each, one line for a failure."""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def fail(message, status=2):
    """Report in one line why the set-up cannot continue, and exit."""
    print(f"setup: {message}", file=sys.stderr)
    sys.exit(status)


def say(message):
    """One line of progress."""
    print(f"setup: {message}", flush=True)


def run(*command, env=None, output=None):
    """Run a step that ends when this process does; returns (status, output)."""
    parent = os.getpid()

    def tie():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(143)

    child = subprocess.Popen(
        [str(part) for part in command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=output or subprocess.STDOUT,
        text=True,
        preexec_fn=tie,
    )
    try:
        text, _ = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    return child.returncode, text


def step(message, *command, env=None):
    """Run a step; its output is shown only if it fails."""
    say(message)
    status, text = run(*command, env=env)
    if status:
        print(text[-4000:], file=sys.stderr)
        fail(f"failed: {message}: {command[0]} exited with status {status}", 1)
