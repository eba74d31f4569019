"""NVIDIA's driver, without which MXNet for CUDA does not load."""

import ctypes
from importlib import metadata

from byteps_gc.errors import EngineError

CUDA_DISTRIBUTION = "mxnet-cu112"
LIBRARY = "libcuda.so.1"


def wanted() -> bool:
    """Whether the installed MXNet is the one for CUDA."""
    try:
        metadata.version(CUDA_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return False
    return True


def loads() -> bool:
    """Whether the driver's library is there."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def check() -> None:
    """:class:`EngineError` if MXNet needs a driver that is not there."""
    if wanted() and not loads():
        raise EngineError(
            f"{CUDA_DISTRIBUTION} is installed, but NVIDIA's driver ({LIBRARY}) is not; install the driver, or set up"
            " for the CPU: ./scripts/setup.sh --cpu"
        )
