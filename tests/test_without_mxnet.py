"""The package without MXNet, and with numpy 1 and the newest numpy that this Python has."""

import os
import sys

import numpy as np
import pytest

from conftest import ROOT, THIS_PYTHON, commands_in
from environments import packages

# what needs the extras for MXNet, or another framework
NEEDS_MORE = {
    *("mxnet", "torch", "training.run", "training.session"),
    *("data.imagenet_transforms", "data.packing", "bench.peers.ddp_worker", "bench.peers.horovod_worker"),
}
IMPORT_ALL = """
import importlib, pkgutil
import byteps_gc
failed = []
names = [module.name for module in pkgutil.walk_packages(byteps_gc.__path__, "byteps_gc.", onerror=failed.append)]
for name in names:
    try:
        name.endswith("__main__") or importlib.import_module(name)
    except ModuleNotFoundError as error:
        failed.append(name)
import numpy
print(numpy.__version__, *sorted({name.partition(".")[2] for name in failed}))
"""
EXCHANGE = """
import sys
import byteps_gc.numpy as bps, numpy as np
bps.init()
gradient = np.full(100000, bps.rank() + 1, np.float32)
exchange = bps.Exchange({"weight": gradient}, {"compressor": "onebit", "scaling": True, "ef": "vanilla"})
exchange.push_pull(0.1)
print("mean", gradient.min(), gradient.max(), "mxnet" in sys.modules)
"""


@pytest.fixture(scope="module", params=["installed", "newest"])
def environment(request, tmp_path_factory):
    """PYTHONPATH for a Python without this environment's MXNet."""
    folder = tmp_path_factory.mktemp(request.param)
    more = ("byteps_gc", "mxnet", "gluoncv", "cv2", "opencv", "torch")
    paths = [ROOT, packages(folder / "packages", without=more)]
    if request.param == "newest":
        with commands_in(folder) as commands:
            pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", folder / "numpy", "numpy")
            result = commands.python(*pip)
            assert result.status == 0, result.output
        paths.insert(1, folder / "numpy")
    return os.pathsep.join(map(str, paths))


def test_what_needs_no_mxnet_imports(commands, environment, request):
    result = commands.run(THIS_PYTHON, "-c", IMPORT_ALL, PYTHONPATH=environment)
    assert result.status == 0, result.output
    version, *failed = result.output.split()
    assert "mxnet" in failed and NEEDS_MORE.issuperset(failed), result.output
    newest = "newest" in request.node.name
    assert (version != np.__version__) == newest, version
    assert sys.version_info < (3, 9) or (int(version.split(".")[0]) >= 2) == newest


@pytest.mark.cluster
def test_workers_exchange_numpy_arrays(commands, environment):
    launch = ("-m", "byteps_gc", "launch", "--workers", 2, "--servers", 1, "--", THIS_PYTHON, "-c", EXCHANGE)
    result = commands.run(THIS_PYTHON, *launch, PYTHONPATH=environment)
    assert result.status == 0, result.output
    assert result.output.count("mean 1.5 1.5 False") == 2, result.output
