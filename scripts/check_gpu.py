"""Compare exchanges from GPU memory with exchanges from host memory: .venv/bin/python scripts/check_gpu.py

Two workers and two servers exchange arrays, uncompressed and with every compressor: with the CPU engine; with the CUDA
engine from GPU memory and from host memory; and from GPU memory with two processes per worker, whose arrays are summed
by NCCL, or by the CPU with BYTEPS_PCIE_SWITCH_SIZE=1. Uncompressed sums must equal NumPy's, and the CUDA engine's
results must equal the CPU engine's bit for bit. Both workers share the GPUs; with a single GPU, so do a worker's
processes. MXNet is not used, so GPUs that it has no kernels for can be checked as well.
With --torch, two workers compare PyTorch tensors on the GPU with tensors in host memory instead: sums, weights after
some steps, whether exchanges begin before backward has ended, and the time of a step with DDP alone and with the hook.
It is sized for 5 minutes, and needs an environment with PyTorch for GPUs (./scripts/setup.sh --torch-python PATH).
Needs the NVIDIA driver, CUDA and NCCL: NVIDIA's wheels (./scripts/setup.sh --cuda), or --cuda-home and --nccl-home.
"""

import argparse
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile

from byteps_gc import env
from byteps_gc.cluster import supervisor
from byteps_gc.engine import compile as compiling
from byteps_gc.engine import fixups, nvidia, nvidia_driver, source
from byteps_gc.errors import EngineError, UserError

PROGRAMS = Path(__file__).resolve().parent.parent / "tests" / "programs"
WORKERS = SERVERS = 2
LARGE = 25557032  # parameters of resnet50_v2


# of the engine for a device: in whose memory the arrays stand, how many processes a worker has, and the environment
RUNS = {
    "host": (("host", 1, {}),),
    "cuda": (
        ("gpu", 1, {}),
        ("host", 1, {}),
        ("gpu", 2, {}),
        ("gpu", 2, {"BYTEPS_PCIE_SWITCH_SIZE": "1"}),
    ),
}


def build(device, release, folder, *flags):
    """A library of the worker's core for the device, and of what device_exchange.py calls."""
    cache = env.cache_folder() / "engine"
    tree = source.unpack(source.fetch(cache, release), folder)
    fixups.apply(tree, fixups.select())

    def progress(line):
        print(f"  compiling {line}", file=sys.stderr, flush=True)

    work = compiling.Build(tree, cache / "objects", os.cpu_count() or 1, progress)
    return compiling.build_core(work, device, PROGRAMS / "device_exchange.cc", *flags)


def exchange(library, device, memory, processes, more, logs, large):
    """Run the cluster; what each process found, case by case."""
    found = {}

    def show(name, line):
        if line.startswith("{"):
            one = json.loads(line)
            found.setdefault(f"{name}.{one['rank']}", []).append(one)

    base = dict(os.environ, BYTEPS_MIN_COMPRESS_BYTES="0", **more)
    base["NVIDIA_VISIBLE_DEVICES"] = ",".join(map(str, range(processes)))
    places = [str(place) for place in device.library_folders()]
    base["LD_LIBRARY_PATH"] = ":".join([*places, *filter(None, [base.get("LD_LIBRARY_PATH")])])
    words = [sys.executable, str(PROGRAMS / "device_exchange.py"), str(library), memory, str(large)]
    supervisor.launch(supervisor.job(WORKERS, SERVERS, words, base=base), logs, show)
    return found


def judge(found, wanted):
    """Return what differs between the processes' results and the expected ones, and a line for each case."""
    wrong = []
    for case, right in enumerate(wanted):
        ours = [results[case] for results in found.values()]
        what = json.dumps(right["params"])
        same = all(one["digest"] == right["digest"] for one in ours)
        if not same:
            wrong.append(f"{what}: different sums")
        bad = max(one["wrong"] or 0 for one in ours)
        if bad:
            wrong.append(f"{what}: {bad} sums differ from NumPy's")
        times = [one["seconds"] for one in ours if one["seconds"]]
        took = f", {max(times):.3f} s per exchange of a large array" if times else ""
        print(f"  {what}: {'equal sums' if same else 'DIFFERENT SUMS'}{took}")
    return wrong


def check(devices, release, gpus, large):
    """Build, exchange and compare; what is wrong. The folder of all that stays where a cluster has failed."""
    wrong, wanted = [], None
    folder = Path(tempfile.mkdtemp(prefix="byteps_gc-gpu-"))
    shared = {"ONE_GPU": "1", "NCCL_SOCKET_IFNAME": "lo", "NCCL_IB_DISABLE": "1"} if gpus == 1 else {}
    for device in devices:
        place = folder / device.name
        place.mkdir()
        flags = ("-include", str(PROGRAMS / "one_gpu.h")) if device.name == "cuda" and shared else ()
        library = build(device, release, place, *flags)
        for number, (memory, processes, more) in enumerate(RUNS[device.name]):
            several = f", {processes} processes per worker" if processes > 1 else ""
            settings = "".join(f", {name}={value}" for name, value in more.items())
            print(f"engine for {device.name}, arrays in {memory} memory{several}{settings}:", flush=True)
            found = exchange(library, device, memory, processes, {**shared, **more}, place / f"run-{number}", large)
            wanted = wanted or found["worker-0.0"]
            wrong += judge(found, wanted)
    shutil.rmtree(folder)
    return wrong


def report(wrong):
    """Print what is wrong; the exit status."""
    for line in wrong:
        print(f"check_gpu: {line}", file=sys.stderr)
    return 1 if wrong else 0


def check_torch(device, large):
    """Compare PyTorch tensors on a device with those in host memory; what is wrong."""
    wrong, found = [], {}

    def show(name, line):
        if not line.startswith("{"):
            return
        one = json.loads(line)
        found.setdefault(one["rank"], []).append(one["what"])
        if one["rank"] == 0:
            print(f"  {one['what']}: {one['wrong'] or one.get('measured', 'equal')}", flush=True)
        if one["wrong"]:
            wrong.append(f"worker {one['rank']}, {one['what']}: {one['wrong']}")

    folder = Path(tempfile.mkdtemp(prefix="byteps_gc-gpu-"))
    words = [sys.executable, str(PROGRAMS / "torch_device.py"), device, str(large)]
    base = dict(os.environ, BYTEPS_MIN_COMPRESS_BYTES="4096")
    print(f"PyTorch, tensors on {device}:", flush=True)
    supervisor.launch(supervisor.job(WORKERS, SERVERS, words, base=base), folder, show)
    shutil.rmtree(folder)
    return wrong if len(found) == WORKERS else [*wrong, "a worker has checked nothing"]


def main():
    """Check what can be checked here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda-home", type=Path, help="installed CUDA toolkit (default: NVIDIA's wheels)")
    parser.add_argument("--nccl-home", type=Path, help="installed NCCL; required with --cuda-home")
    parser.add_argument("--source", type=Path, help="folder with the source archives (default: fetched by pip)")
    parser.add_argument("--host", action="store_true", help="check only the CPU engine; needs no GPU")
    parser.add_argument(
        "--large", type=int, default=LARGE, help="elements of the array that is timed (default: %(default)s)"
    )
    parser.add_argument("--torch", action="store_true", help="check PyTorch instead")
    parser.add_argument(
        "--device",
        choices=("cuda", "cpu"),
        default="cuda",
        help="with --torch: cpu lets host memory stand for the GPU's",
    )
    options = parser.parse_args()
    try:
        if options.torch:
            return report(check_torch(options.device, options.large))
        devices, gpus = [compiling.HOST], []
        if not options.host:
            gpus = nvidia_driver.gpus()
            if not gpus:
                raise EngineError("the NVIDIA driver reports no GPU; check the CPU engine with --host")
            print(*gpus, sep="\n")
            home = options.cuda_home or nvidia.toolkit(env.cache_folder() / "engine")
            devices.append(compiling.cuda(home, options.nccl_home or home))
        wrong = check(devices, options.source, len(gpus), options.large)
    except UserError as error:
        print(f"check_gpu: {error}", file=sys.stderr)
        return 2
    return report(wrong)


if __name__ == "__main__":
    sys.exit(main())
