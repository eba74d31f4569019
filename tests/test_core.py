"""The engine's C surface and its binding, in one process that is a worker alone."""

import sys

from byteps_gc.cluster import roles, supervisor
import pytest

BEGIN = """
import os, sys, threading
from byteps_gc.core import engine, session, exchange
from byteps_gc.errors import EngineError, ExchangeError
import numpy as np
session.start()
"""


def run(commands, program):
    """Run a program in a process that is alone, with BytePS started; return its output."""
    result = commands.python("-c", BEGIN + program)
    assert result.status == 0, result.output
    return result.output


def test_completed_exchanges_come_from_a_queue(commands):
    program = """
arrays = [np.full(10, number, "f4") for number in range(5)]
tensors = [exchange.prepare(f"tensor_{number}", (10,), "float32", "test").number for number in range(5)]
waited = []
consumer = threading.Thread(target=lambda: waited.append(engine.next_done(60)))
consumer.start()
def begin(*which, queued=True):
    items = [engine.Exchange(tensors[one], arrays[one].ctypes.data, -one) for one in which]
    return engine.exchange(items, arrays, queued)
first = begin(0, 1)
consumer.join()
others = {begin(2), begin(3)}
silent = begin(4, queued=False)
assert waited == [first]
assert {engine.next_done(60), engine.next_done(60)} == others and engine.next_done(0) == 0
for ticket in (first, silent, *others):
    assert engine.poll(ticket)
engine.drain()
consumer = threading.Thread(target=lambda: waited.append(engine.next_done(60)))
consumer.start()
session.shutdown()
consumer.join()
print("queue", waited == [first, 0])
"""
    assert "queue True" in run(commands, program)


ERRORS = {
    "engine.exchange([item(99)], None)": "tensor 99 has not been declared",
    "engine.exchange([item(-1)], None)": "tensor -1 has not been declared",
    "engine.exchange([], None)": "there is nothing to exchange",
    "engine.exchange([item(declared)], None)": "declared has not been registered",
    "engine.exchange([item(ready, 0)], None)": "ready has no array",
    "engine.exchange([item(ready), item(ready)], None)": "an exchange of ready is under way; wait for it before the",
    "engine.register(ready, 16, 'float32')": "ready has been registered already",
    "engine.register(declared, 7, 'float32')": "declared: 7 bytes are not a positive number of elements",
    "engine.register(declared, 0, 'float32')": "declared: 0 bytes are not a positive number of elements",
    "engine._checked('register', 0, declared, 8, 7)": "declared has an unknown dtype",
    "engine.poll(12345)": "ticket 12345 does not exist",
    "engine.poll(done)": "does not exist",
    "exchange.declare('x', k='1')": "x: unknown option k; options begin with byteps_",
}


def test_errors_of_the_surface_are_text(commands):
    program = f"""
array = np.zeros(4, "f4")
def item(tensor, address=array.ctypes.data):
    return engine.Exchange(tensor, address)
ready = exchange.prepare("ready", (4,), "float32", "test").number
declared = engine.declare("declared", 16, 0, "", {{}})
done = engine.exchange([item(ready)], array)
engine.wait(done)
for text in {list(ERRORS)!r}:
    try:
        eval(text)
    except ExchangeError as error:
        print("ERROR", error)
    else:
        sys.exit(text)
engine.wait(engine.exchange([item(ready)], array))
session.shutdown()
try:
    engine.exchange([item(ready)], array)
except ExchangeError as error:
    print("ERROR", error)
"""
    lines = [line[len("ERROR ") :] for line in run(commands, program).splitlines() if line.startswith("ERROR ")]
    assert len(lines) == len(ERRORS) + 1
    for line, (call, words) in zip(lines, [*ERRORS.items(), ("after the end", "BytePS has been shut down")]):
        assert words in line, call


def test_a_forked_child_does_not_leave_the_cluster(commands):
    """It has no threads of the engine, so a shutdown in it would never end, and destructors would crash."""
    program = """
child = os.fork()
if child == 0:
    sys.exit(0)
print("child", os.waitpid(child, 0)[1], flush=True)
exchange.total([1], "after")
"""
    assert "child 0" in run(commands, program)


def test_without_an_engine_it_is_one_line(commands):
    program = """
import importlib.util
from byteps_gc.core import session
importlib.util.find_spec = lambda name: None
session.start()
"""
    result = commands.python("-c", program)
    assert result.status == 1
    assert result.output.strip() == (
        "-c: BytePS's engine is not installed; build its wheel with python -m byteps_gc engine build, and install it"
    )


@pytest.mark.parametrize(
    "value, words", [("-1", "BYTEPS_MIN_COMPRESS_BYTES=-1 is not an integer"), ("x", "BYTEPS_MIN_COMPRESS_BYTES=x")]
)
def test_a_wrong_variable_is_one_line(commands, value, words):
    result = commands.python("-c", "import byteps_gc.numpy as bps; bps.init()", BYTEPS_MIN_COMPRESS_BYTES=value)
    assert result.status == 1 and words in result.output and "Traceback" not in result.output


@pytest.mark.cluster
def test_a_job_without_an_exchange_ends(commands):
    """Its workers are the last that the scheduler and the server wait for."""
    cluster = roles.Cluster(2, 1, port=supervisor.free_port())

    def start(role, number=None):
        env = roles.environment(cluster, role, number, address=roles.LOOPBACK, base={})
        program = [sys.executable, "-c", BEGIN]
        return commands.start(*supervisor.BPSLAUNCH, *(program if role == "worker" else []), **env)

    started = [start("scheduler"), start("server"), start("worker", 0), start("worker", 1)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
