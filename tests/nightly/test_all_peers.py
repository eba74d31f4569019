"""Every contestant of the benchmark against peers exchanges gradients here, in its own environment where it has one."""

import json

from byteps_gc.bench.peers.jobs import GROUPS, PEERS
import pytest

pytestmark = pytest.mark.cluster

SMALL = ["--model", "resnet18_v2", "--hosts", "2", "--rate", "unshaped", "--repeats", "1", "--json", "out.json"]


@pytest.mark.parametrize(
    "group, versions", [("systems", {"horovod", "mxnet", "pytorch"}), ("torch", {"torch"})], ids=GROUPS
)
def test_all_exchange(commands, tmp_path, group, versions):
    result = commands.python("-m", "byteps_gc", "bench", "peers", "--group", group, *SMALL, timeout=3000)
    assert result.status == 0, result.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["failed"] == []
    assert [one["peer"] for one in found["rows"]] == [peer.name for peer in PEERS if peer.group == group]
    assert all(one["mb_sent"] > 0.1 for one in found["rows"])
    assert set(found["versions"]) == versions
