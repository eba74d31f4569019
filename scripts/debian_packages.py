"""The Debian packages that the set-up needs, and how it installs them. For any Python from 3.8 to 3.12."""

import ctypes.util
import os
from pathlib import Path
import shutil

from steps import fail, run, say, step

# Debian's package, and how to see that what it brings is there
DEBIAN = {
    "g++": lambda: shutil.which("g++"),
    "make": lambda: shutil.which("make"),
    "libgomp1": lambda: ctypes.util.find_library("gomp"),
    "libgl1": lambda: ctypes.util.find_library("GL"),
    "libglib2.0-0": lambda: ctypes.util.find_library("glib-2.0"),
    "libnuma1": lambda: ctypes.util.find_library("numa"),
    "libnuma-dev": lambda: Path("/usr/include/numa.h").exists(),
    "python3-venv": lambda: importable("ensurepip"),
    "dataset-fashion-mnist": lambda: Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz").exists(),
    "chromium": lambda: program("chromium"),
    "iproute2": lambda: program("ip") and program("tc"),
    "openssh-server": lambda: program("sshd"),
    "pssh": lambda: program("parallel-ssh"),
}
ALWAYS = ("libgl1", "libglib2.0-0", "python3-venv")
FOR_TORCH = ("python3-venv", "g++", "make")
TO_BUILD = {"cpu": ("g++", "make"), "cuda": ("g++", "make", "libnuma-dev")}
TO_RUN = {"cpu": ("libgomp1",), "cuda": ("libgomp1", "libnuma1")}


def program(name):
    """Where a program lies, those for root included; None if it is missing."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def importable(name):
    """Whether this Python has the module."""
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def install(wanted):
    """Install what is missing, as root or with sudo; otherwise name it."""
    unknown = [name for name in wanted if name not in DEBIAN]
    if unknown:
        fail(f"--with {unknown[0]} is not one of {', '.join(DEBIAN)}")
    missing = [name for name in wanted if not DEBIAN[name]()]
    if not missing:
        return
    sudo = []
    if os.geteuid() != 0:
        sudo = ["sudo", "-n"] if shutil.which("sudo") and run("sudo", "-n", "true")[0] == 0 else None
    if sudo is None or not shutil.which("apt-get"):
        fail(f"missing Debian packages; install them with: sudo apt-get install {' '.join(missing)}")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = [*sudo, "apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    say(f"installing Debian packages: {' '.join(missing)}")
    if run(*command, env=env)[0]:
        step("updating Debian's package lists", *sudo, "apt-get", "update", "-q", env=env)
        step("installing Debian packages again", *command, env=env)
