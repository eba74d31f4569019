"""Install Debian packages, create .venv, install Python packages and the engine, then run COMMAND in .venv.

Run by ``scripts/setup.sh``, with any Python from 3.8 to 3.12 and nothing installed.
A step that has been done is skipped; an interrupted step starts again.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path
import shutil
import signal
import sys
import zipfile

import debian_packages
from debian_packages import ALWAYS, FOR_TORCH, TO_BUILD, TO_RUN
from steps import fail, run, say, step

ROOT = Path(__file__).resolve().parent.parent
VENV = PYTHON = STAMP = Path()  # of the environment, see use()
EXTRAS = {"cpu": "mxnet-cpu", "cuda": "mxnet-cuda"}
ENGINES = {"cpu": "host", "cuda": "cuda"}  # what wheels of the engine call the device
DEVICES = {"cpu": "train on the CPU", "cuda": "train on GPUs; also installs CUDA 11, cuDNN 8 and NCCL"}
NO_TORCH = 77  # status: there is no PyTorch to install
OLDEST_TORCH = [2, 1]  # as byteps_gc/torch/version.py
TORCH_OF = "import torch, sysconfig; print(torch.__version__, sysconfig.get_path('purelib'), sep='\\n')"


def use(folder):
    """Name the environment's folder: BYTEPS_GC_VENV, or this one in the repository."""
    global VENV, PYTHON, STAMP
    VENV = Path(os.environ.get("BYTEPS_GC_VENV") or ROOT / folder).absolute()
    PYTHON = VENV / "bin" / "python"
    STAMP = VENV / "byteps_gc-setup.json"


def stamp(what):
    """What .venv says of itself; None without a finished one."""
    try:
        return json.loads(STAMP.read_text()).get(what)
    except (OSError, ValueError):
        return None


class Wheels:
    """The wheels of byteps_gc and of the engine in a folder, made by ``engine build`` on another host."""

    def __init__(self, folder, device):
        self.folder = Path(folder).absolute()
        self.package = self.only("byteps_gc-*.whl")
        self.engine = self.only(f"byteps-*+gc.{ENGINES[device]}.*.whl")
        with zipfile.ZipFile(str(self.engine)) as wheel:
            self.built = json.loads(wheel.read("byteps/gc_build.json"))
        self.check()

    def only(self, pattern):
        """Return the folder's only file that matches."""
        found = sorted(self.folder.glob(pattern))
        if len(found) != 1:
            command = "python -m byteps_gc engine build --out FOLDER"
            fail(f"{self.folder} has {len(found)} files {pattern} instead of one; build the wheels with {command}")
        return found[0]

    def check(self):
        """Stop if the engine was built without MXNet, or on a host with a newer C library than this host's."""
        if not self.built["mxnet"]:
            fail(f"{self.engine} was built without MXNet; build it where MXNet is installed")
        needed, here = self.built["glibc"], os.confstr("CS_GNU_LIBC_VERSION")
        if numbers(here) < numbers(needed):
            fail(f"the wheels need {needed} or newer, but this host has {here}; build them on a host with {here}")


def numbers(version):
    """Return the first two parts of a version such as "glibc 2.36" or "2.13.0+cpu", as numbers."""
    return [int(part) for part in version.split()[-1].split(".")[:2]]


def python_packages(device, wheels):
    """Create .venv and install the project, from the checkout or its wheel, and its dependencies into it."""
    source, extras = (wheels.package, EXTRAS[device]) if wheels else (ROOT, f"{EXTRAS[device]},test")
    contents = (wheels.package if wheels else ROOT / "setup.py").read_bytes()
    recipe = hashlib.sha256(contents + f"{sys.version} {extras} {ROOT}".encode()).hexdigest()
    if stamp("recipe") == recipe:
        return
    version = ".".join(map(str, sys.version_info[:3]))
    step(f"creating {VENV} with Python {version}", sys.executable, "-m", "venv", "--clear", VENV)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    what = "MXNet, GluonCV, ..." if device == "cpu" else "MXNet, GluonCV, CUDA, cuDNN, NCCL: about 4 GB"
    step(f"installing Python packages ({what})", *pip, *([] if wheels else ["--editable"]), f"{source}[{extras}]")
    folder = str(wheels.folder) if wheels else None
    STAMP.write_text(json.dumps({"recipe": recipe, "device": device, "wheels": folder}))


def torch_packages(torch_python):
    """Create the environment for PyTorch and install the project into it; exit with NO_TORCH if there is none.

    torch_python: a Python that has PyTorch, which is then used, or None to install the wheel for CPUs.
    """
    recipe = hashlib.sha256((ROOT / "setup.py").read_bytes() + f"torch {torch_python} {ROOT}".encode()).hexdigest()
    if stamp("recipe") == recipe:
        return
    if torch_python:
        borrow_torch(torch_python)
    else:
        install_torch()
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    step("installing Python packages (pytest, pyzmq, ...)", *pip, "--editable", f"{ROOT}[test]")
    STAMP.write_text(json.dumps({"recipe": recipe, "device": "torch"}))


def borrow_torch(python):
    """Create the environment with a Python that has PyTorch, whose packages it then finds."""
    status, text = run(python, "-c", TORCH_OF)
    if status:
        fail(f"--torch-python {python} cannot import torch: {(text.strip().splitlines() or ['no output'])[-1]}")
    version, folder = text.splitlines()[-2:]
    if numbers(version) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        fail(f"--torch-python {python} has PyTorch {version}; byteps_gc.torch needs {oldest} or newer")
    step(f"creating {VENV} with {python}", python, "-m", "venv", "--clear", VENV)
    own = run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")[1].strip()
    Path(own, "byteps_gc-torch.pth").write_text(folder + "\n")
    torchrun = PYTHON.with_name("torchrun")  # PyTorch's own starts workers with the other Python
    torchrun.write_text(f"#!{PYTHON}\nfrom torch.distributed.run import main\n\nmain()\n")
    torchrun.chmod(0o755)


def install_torch():
    """Create the environment with the first Python for which the index serves PyTorch for CPUs, and install that."""
    for python in [sys.executable, *other_pythons()]:
        version = cpu_version(python)
        if version:
            step(f"creating {VENV} with {python}", python, "-m", "venv", "--clear", VENV)
            pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            return step(f"installing PyTorch {version}", *pip, f"torch=={version}", "numpy")
    fail(
        "the package index serves no PyTorch for CPUs (a version that ends in +cpu); pass --torch-python PATH, a Python"
        " that has PyTorch, or set PIP_EXTRA_INDEX_URL to an index that serves one",
        NO_TORCH,
    )


def cpu_version(python):
    """Return the newest version of PyTorch for CPUs that the index serves for a Python, or None."""
    if run(python, "-m", "pip", "--version")[0]:
        step(f"creating {VENV} with {python}, for its pip", python, "-m", "venv", "--clear", VENV)
        python = PYTHON
    status, text = run(python, "-m", "pip", "--disable-pip-version-check", "index", "versions", "torch")
    words = text.replace(",", " ").split() if status == 0 else []
    return next((word for word in words if word.endswith("+cpu")), None)


def other_pythons():
    """Yield the other Pythons that this project works with."""
    for minor in (12, 11, 10, 9, 8):
        versions = sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"))
        for python in [shutil.which(f"python3.{minor}"), *map(str, versions)]:
            if python and (sys.version_info[:2] != (3, minor)) and run(python, "-c", "import ssl, venv")[0] == 0:
                yield python
                break


def build_engine(device):
    """Build BytePS, or find it in the cache; return the wheel's path."""
    say("finding the engine in the cache, or building it (about a minute)")
    command = [PYTHON, "-m", "byteps_gc", "engine", "build", "--engine-only"]
    status, text = run(*command, *(["--cuda"] if device == "cuda" else []), output=sys.stderr)
    if status:
        fail("cannot build the engine: see the error above", 1)
    return Path(text.strip().splitlines()[-1])


def engine(device, wheels):
    """Install BytePS into .venv, from its wheel or built here."""
    if device == "cuda":
        step("linking the CUDA libraries for MXNet", PYTHON, "-m", "byteps_gc", "engine", "libraries")
    wheel = wheels.engine if wheels else build_engine(device)
    built = wheel.name.split("-")[1]
    installed = "import importlib.metadata as m; print(m.version('byteps'))"
    if run(PYTHON, "-c", installed)[1].strip() != built:
        pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        step(f"installing byteps {built}", *pip, "--no-deps", "--force-reinstall", wheel)


def main():
    """Set up, then become the command that was asked for."""
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    wants_torch = any(word.startswith("--torch") for word in words)
    use(".venv-torch" if wants_torch else ".venv")
    parser = argparse.ArgumentParser(prog="setup.sh", description=__doc__.split("\n")[0])
    for device, text in DEVICES.items():
        parser.add_argument(f"--{device}", dest="device", action="store_const", const=device, help=text)
    parser.add_argument(
        "--with", dest="extra", action="append", default=[], metavar="PACKAGE", help="also install a Debian package"
    )
    parser.add_argument(
        "--wheels",
        type=Path,
        metavar="FOLDER",
        default=stamp("wheels"),
        help="install the two wheels of engine build from FOLDER instead of compiling; .venv keeps this",
    )
    parser.add_argument("--torch", action="store_true", help="make .venv-torch for PyTorch instead, on CPUs")
    parser.add_argument("--torch-python", metavar="PATH", help="use the PyTorch that this Python has")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="run this in .venv")
    options = parser.parse_args()
    if not (3, 8) <= sys.version_info[:2] <= (3, 12):
        fail(f"Python {sys.version.split()[0]} is not supported by MXNet; use 3.8 to 3.12")
    device = "torch" if wants_torch else options.device or stamp("device") or "cpu"
    if wants_torch and (options.device or options.wheels):
        fail("--torch cannot be combined with --cpu, --cuda or --wheels")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda sig, frame: sys.exit(128 + sig))
    try:
        wheels = Wheels(options.wheels, device) if options.wheels else None
        if device == "torch":
            debian_packages.install([*FOR_TORCH, *options.extra])
            torch_packages(options.torch_python)
        else:
            debian_packages.install([*ALWAYS, *(TO_RUN if wheels else TO_BUILD)[device], *options.extra])
            python_packages(device, wheels)
        engine(device, wheels)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if command:
        path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
        os.environ.update(VIRTUAL_ENV=str(VENV), PATH=path, BYTEPS_GC_PYTHON=str(PYTHON))
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    say(f"ready: {VENV}")


if __name__ == "__main__":
    main()
