"""The benchmark's contestants with PyTorch, on the gradients of a tiny model.

Run in the environment of ``./scripts/setup.sh --torch``.
"""

from importlib import metadata
import json
import sys

from byteps_gc import cli as command_line
from byteps_gc.bench import model_gradients
from byteps_gc.bench.peers.rows import Row
import pytest

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed here: ./scripts/setup.sh --torch makes its environment"
)

pytestmark = [pytest.mark.cluster, pytest.mark.torch]

SHAPES = [(300, 200), (200,), (200, 300), (300,)]
HALF = "bf16" if torch.__version__ >= (2, 3) else "fp16"  # gloo of older versions has no bfloat16
PEERS = ("byteps_gc hook onebit + EF", "torch DDP", f"torch DDP {HALF}")
MEGABYTE = 1e6
VERSION = metadata.version("torch")


@pytest.fixture
def tiny(monkeypatch):
    """A model of 482 kB takes the place of GluonCV's, which need MXNet."""
    monkeypatch.setattr(model_gradients, "of", lambda model: SHAPES)


def test_contestants_send_what_they_say(tiny, machine, tmp_path, capsys):
    """Between simulated hosts with a slow link; the table names PyTorch's version."""
    words = "--model resnet18_v2 --hosts 2 --rate 100mbit --repeats 1 --torch-python".split()
    files = ["--json", str(tmp_path / "out.json"), "--markdown", str(tmp_path / "out.md")]
    named = [word for name in PEERS for word in ("--peer", name)]
    assert command_line.main(["bench", "peers", *words, sys.executable, *files, *named]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["failed"] == [] and found["versions"] == {"torch": VERSION, "TCP": "cubic"}
    rows = {one["peer"]: Row(**one) for one in found["rows"]}
    assert [*rows] == [*PEERS]
    whole = 4 * sum(torch.Size(shape).numel() for shape in SHAPES) / MEGABYTE
    onebit, plain, half = (rows[name].mb_sent / whole for name in PEERS)
    assert 1 / 32 < onebit < 0.1 and 1 <= plain < 1.2 and 0.5 <= half < 0.6
    printed, written = capsys.readouterr().out, (tmp_path / "out.md").read_text()
    assert f"torch {VERSION}, TCP cubic" in printed and f"torch {VERSION}, TCP cubic.\n" in written
    assert written.startswith("`python -m byteps_gc bench peers --group torch`; Python ")
