"""Workers that do not have the same tensors, dtypes, partitions or compressors end the job with one line."""

import time

import pytest

pytestmark = pytest.mark.cluster

# The body runs on both workers, `one` is true on worker 1 only, before bps.init().
PROGRAM = """
import os, time
one = os.environ["DMLC_WORKER_ID"] == "1"
{before}
import byteps_gc.mxnet as bps, mxnet as mx
from byteps_gc.compressors import engine_keys
from byteps_gc.compressors.settings import Settings
bps.init()
def exchange(name="a", size=100000, dtype="float32", **params):
    settings = Settings.from_params(params)
    options = engine_keys.engine_options(settings, None, name, "compressor" in params) if params else {{}}
    bps.declare(name, size * 4, **options)
    array = mx.nd.ones(size, dtype=dtype)
    bps.push_pull(array, name=name)
    array.wait_to_read()
exchange("both")
print("begun at", time.monotonic(), flush=True)
{body}
"""
FIRST, SECOND = (f"worker-{number} on 127.0.0.1" for number in range(2))


def ends(commands, body, before="", **env):
    """The one line of the server that ends the job, within 10 seconds of its cause; all others name that server."""
    result = commands.launch("-c", PROGRAM.format(body=body, before=before), servers=1, **env)
    now = time.monotonic()
    assert result.status == 70, result.output
    lines = {line.split(" | byteps: ", 1)[1] for line in result.output.splitlines() if "server-0 | byteps: " in line}
    assert len(lines) == 1, result.output
    begun = [float(line.split()[-1]) for line in result.output.splitlines() if "begun at" in line]
    assert not begun or now - min(begun) < 10
    return lines.pop()


def test_sizes(commands):
    line = ends(commands, "exchange(size=1000 + one)")
    ways = [(FIRST, 4000, SECOND, 4004), (SECOND, 4004, FIRST, 4000)]
    text = "{} has 'a' with {} bytes, {} with {}: all workers must train the same model"
    assert line in [text.format(*way) for way in ways]


def test_names(commands):
    line = ends(commands, "exchange('X' if one else 'Y')")
    ways = [(SECOND, "X", FIRST, "Y"), (FIRST, "Y", SECOND, "X")]
    text = "{} has the tensor '{}' where {} has '{}': all workers must declare the same tensors in the same order"
    assert line in [text.format(*way) for way in ways]


def test_dtypes(commands):
    line = ends(commands, "exchange(dtype='float16' if one else 'float32')")
    ways = [(SECOND, "float16", FIRST, "float32"), (FIRST, "float32", SECOND, "float16")]
    text = "{} has 'a' as {}, {} as {}: use the same dtype and the same fp16 setting on all workers"
    assert line in [text.format(*way) for way in ways]


@pytest.mark.parametrize(
    "variable, values", [("BYTEPS_PARTITION_BYTES", (4096000, 1024000)), ("BYTEPS_MIN_COMPRESS_BYTES", (100, 200))]
)
def test_variables(commands, variable, values):
    """Compared when the processes meet, before any tensor."""
    before = f"os.environ['{variable}'] = '{values[1]}' if one else '{values[0]}'"
    result = commands.launch("-c", PROGRAM.format(body="", before=before))
    assert result.status == 69, result.output
    ways = [(FIRST, values[0], SECOND, values[1]), (SECOND, values[1], FIRST, values[0])]
    assert any(f"{a} has {variable}={b}, {c} has {d}" in result.output for a, b, c, d in ways)
    assert "begun at" not in result.output


REMEDY = ": use the same compression_params (also fp16) and BYTEPS_MIN_COMPRESS_BYTES on all workers"
COMPRESSIONS = {
    "one only": ("**({'compressor': 'onebit'} if one else {})", "compresses {}", "does not compress {}"),
    "fp16 on one only": ("**({'fp16': True} if one else {})", "compresses {}", "does not compress {}"),
    "options": ("compressor='topk', k=0.1 if one else 0.2", "compresses {} with k=0.1", "compresses {} with k=0.2"),
    "kinds": (
        "**({'compressor': 'onebit'} if one else {'compressor': 'topk', 'k': 0.2})",
        "compresses {} with codec=onebit scaling=false",
        "compresses {} with codec=topk half=false k=0.2",
    ),
}


@pytest.mark.parametrize("case", COMPRESSIONS)
def test_compressors(commands, case):
    arguments, second, first = COMPRESSIONS[case]
    line = ends(commands, f"exchange({arguments})")
    ways = [(SECOND, second, FIRST, first), (FIRST, first, SECOND, second)]
    expected = [f"{a} {b}, {c} {d}{REMEDY}".format for a, b, c, d in ways]
    assert line in [text("'a'", "it") for text in expected], line


TRAINER = """
net = mx.gluon.nn.Dense(100, in_units=100)
net.initialize()
trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {}, compression_params=PARAMS if one else {})
with mx.autograd.record():
    loss = net(mx.nd.ones((2, 100))).sum()
loss.backward()
trainer.step(2)
"""


@pytest.mark.parametrize("params", ["{'fp16': True}", "{'compressor': 'onebit'}"])
def test_trainers(commands, params):
    """A trainer compares its settings before its first tensor."""
    code = PROGRAM.format(body=TRAINER.replace("PARAMS", params), before="")
    result = commands.launch("-c", code, BYTEPS_MIN_COMPRESS_BYTES="100")
    assert result.status == 1, result.output
    assert "the workers' trainers have different settings: " in result.output
    assert " on worker 0; " in result.output and " on worker 1" in result.output
