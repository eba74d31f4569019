"""NVIDIA's driver, without which MXNet for CUDA does not load, and the GPUs that it shows."""

import ctypes
from dataclasses import dataclass
from importlib import metadata
from typing import List

from byteps_gc.errors import EngineError

CUDA_DISTRIBUTION = "mxnet-cu112"
LIBRARY = "libcuda.so.1"
KERNELS = range(5, 9)  # its kernels are machine code for 5.0, 6.0, 7.0, 8.0 and 8.6, each good for its major number
NO_DEVICE = 100  # a status, and two attributes, of CUDA's driver API
MAJOR, MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver shows to this process, with its compute capability."""

    name: str
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.major}.{self.minor})"


def wanted() -> bool:
    """Whether the installed MXNet is the one for CUDA."""
    try:
        metadata.version(CUDA_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return False
    return True


def load() -> ctypes.CDLL:
    """The driver's library; :class:`EngineError` if it is not there."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        raise EngineError(f"the NVIDIA driver ({LIBRARY}) is not installed") from None


def gpus() -> List[Gpu]:
    """The GPUs of this process, CUDA_VISIBLE_DEVICES considered; :class:`EngineError` if the driver does not work."""
    library = load()

    def call(function: str, *arguments: object) -> int:
        status: int = getattr(library, function)(*arguments)
        if status not in (0, NO_DEVICE):
            raise EngineError(f"the NVIDIA driver failed: {function} returned status {status}")
        return status

    count, device, number = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(100)
    if call("cuInit", 0) == NO_DEVICE:
        return []
    call("cuDeviceGetCount", ctypes.byref(count))
    found = []
    for ordinal in range(count.value):
        call("cuDeviceGet", ctypes.byref(device), ordinal)
        call("cuDeviceGetName", name, len(name), device)
        numbers = []
        for attribute in (MAJOR, MINOR):
            call("cuDeviceGetAttribute", ctypes.byref(number), attribute, device)
            numbers.append(number.value)
        found.append(Gpu(name.value.decode(), *numbers))
    return found


def check(processes: int = 1, using: bool = True) -> None:
    """:class:`EngineError` if MXNet is the one for CUDA, and it or its engine cannot run here.

    processes: of a worker; the engine gives each of them a GPU.
    using: whether there will be operations on GPUs: MXNet then needs kernels for them. The engine needs none.
    """
    if not wanted():
        return
    cpu = "set up for the CPU with ./scripts/setup.sh --cpu"
    try:
        load()
    except EngineError:
        raise EngineError(
            f"{CUDA_DISTRIBUTION} is installed, but the NVIDIA driver ({LIBRARY}) is not; install the driver, or {cpu}"
        ) from None
    found = gpus()
    if len(found) < processes:
        raise EngineError(
            f"a worker needs one GPU per process, {processes} in total, but the NVIDIA driver reports {len(found)}"
            f" (CUDA_VISIBLE_DEVICES may hide some); list fewer in BYTEPS_GC_GPUS, or {cpu}"
        )
    for gpu in found if using else ():
        if gpu.major not in KERNELS:
            raise EngineError(
                f"{CUDA_DISTRIBUTION} has no kernels for {gpu}, only for 5.0 to 8.9; train on the CPU (--num-gpus 0),"
                f" hide this GPU with CUDA_VISIBLE_DEVICES if there is another, or {cpu}"
            )
