"""Stops this process now and then, for a moment: what else it does gets a random pace."""

import os
import subprocess
import sys

APART, STOPPED = 0.060, 0.015  # seconds, at most

STOPPER = """
import os, random, select, signal, time
rng = random.Random({worker})
while not select.select([0], [], [], rng.random() * {apart})[0]:
    os.kill({parent}, signal.SIGSTOP)
    time.sleep(rng.random() * {stopped})
    os.kill({parent}, signal.SIGCONT)
"""


def stop_now_and_then(worker):
    """Start a child that stops this process again and again until its standard input is closed."""
    code = STOPPER.format(worker=worker, parent=os.getpid(), apart=APART, stopped=STOPPED)
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
