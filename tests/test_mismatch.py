"""Workers that do not have the same tensors, dtypes, partitions or compressors end the job with one line."""

import pytest

pytestmark = pytest.mark.cluster

# The body runs on both workers, `one` is true on worker 1 only, before bps.init().
PROGRAM = """
import os
one = os.environ["DMLC_WORKER_ID"] == "1"
{before}
import byteps_gc.numpy as bps, numpy as np
from byteps_gc.compressors.engine_keys import engine_options
from byteps_gc.compressors.settings import Settings
from byteps_gc.core.exchange import declare
bps.init()
def exchange(name="a", size=100000, dtype="float32", **params):
    options = engine_options(Settings.from_params(params), None, name, "compressor" in params) if params else {{}}
    declare(name, size * 4, **options)
    bps.push_pull(np.ones(size, dtype), name)
exchange("both")
print("begun", flush=True)
{body}
"""
FIRST, SECOND = (f"worker-{number} on 127.0.0.1" for number in range(2))


def ends(commands, body, before="", **env):
    """The one line of the server that ends the job."""
    result = commands.launch("-c", PROGRAM.format(body=body, before=before), servers=1, **env)
    assert result.status == 70, result.output
    lines = {line.split(" | byteps: ", 1)[1] for line in result.output.splitlines() if "server-0 | byteps: " in line}
    assert len(lines) == 1, result.output
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
    text = "{} has 'a' as {}, {} as {}: use the same dtype and the same fp16 or bf16 setting on all workers"
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
    assert "begun" not in result.output


REMEDY = ": use the same compression_params (also fp16 and bf16) and BYTEPS_MIN_COMPRESS_BYTES on all workers"
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
import byteps_gc.mxnet as bps, mxnet as mx
bps.init()
net = mx.gluon.nn.Dense(100, in_units=100)
net.initialize()
params = {"compressor": "onebit"} if bps.rank() else {}
trainer = bps.DistributedTrainer(net.collect_params(), "sgd", compression_params=params)
with mx.autograd.record():
    loss = net(mx.nd.ones((2, 100))).sum()
loss.backward()
trainer.step(2)
"""


def test_trainers(commands):
    """A trainer compares its settings before its first tensor."""
    result = commands.launch("-c", TRAINER, BYTEPS_MIN_COMPRESS_BYTES="100")
    assert result.status == 1, result.output
    assert "the workers' trainers have different settings: " in result.output
    assert " on worker 0; " in result.output and " on worker 1" in result.output
