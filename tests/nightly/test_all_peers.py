"""Every contestant of the benchmark against peers exchanges gradients here, in its own environment where it has one."""

import json

from byteps_gc.bench.peers.jobs import PEERS
import pytest

pytestmark = pytest.mark.cluster

SMALL = ["--model", "resnet18_v2", "--hosts", "2", "--rate", "unshaped", "--repeats", "1", "--json", "out.json"]


def test_all_exchange(commands, tmp_path):
    result = commands.python("-m", "byteps_gc", "bench", "peers", *SMALL, timeout=3000)
    assert result.status == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["failed"] == []
    assert [one["peer"] for one in found["rows"]] == [peer.name for peer in PEERS]
    assert all(one["mb_sent"] > 0.1 for one in found["rows"])
    assert set(found["versions"]) == {"horovod", "mxnet", "pytorch"}
