"""The C++ compiler: commands that end with us, and objects cached by their preprocessed text."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
from typing import Callable, Iterator, List, Sequence, Set, Tuple

from byteps_gc.errors import EngineError
from byteps_gc.processes import communicate, popen, stop


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a cache folder for one build at a time; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob("build-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def compiler() -> str:
    """The first line of ``g++ --version``; :class:`EngineError` if there is no compiler."""
    for tool, package in (("g++", "g++"), ("make", "make")):
        if shutil.which(tool) is None:
            raise EngineError(f"{tool} is not installed; on Debian or Ubuntu: apt-get install {package}")
    return subprocess.run(["g++", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def expanded(flags: Sequence[str]) -> List[str]:
    """The flags that text needs which is preprocessed already."""
    pairs = {place + 1 for place, flag in enumerate(flags) if flag == "-include"}
    return [
        flag
        for place, flag in enumerate(flags)
        if place not in pairs and not flag.startswith(("-I", "-D")) and flag != "-include"
    ]


class Compiler:
    """Compiles one source tree, with a cache of objects keyed by preprocessed text and flags."""

    def __init__(self, tree: Path, objects: Path, jobs: int, progress: Callable[[str], None]):
        self.tree = tree
        self.objects = objects
        self.jobs = jobs
        self.progress = progress
        self.version = compiler()
        self.running: Set[subprocess.Popen] = set()
        self.stopped = False
        objects.mkdir(parents=True, exist_ok=True)

    def run(self, *command: str, cwd: Path = None, env: dict = None) -> bytes:
        """Run one command in the tree; :class:`EngineError` with its first error line if it fails.

        The command and all that it starts end when this call is interrupted.
        """
        child = popen(
            command,
            cwd=cwd or self.tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.running.add(child)
        try:
            output, errors = communicate(child, groups=True)
        finally:
            self.running.discard(child)
        if child.returncode:
            lines = errors.decode(errors="replace").strip().splitlines() or ["no error output"]
            first = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise EngineError(f"{command[0]} failed with status {child.returncode}: {first.strip()}")
        return output

    def compile(self, source: str, flags: Tuple[str, ...]) -> Path:
        """Compile ``source`` (a path in the tree) and return the cached object."""
        text = self.run("g++", *flags, "-E", "-P", source)
        rest = expanded(flags)
        recipe = "\0".join((self.version, *rest)).encode()
        target = self.objects / (hashlib.sha256(recipe + text).hexdigest() + ".o")
        if not target.is_file():
            self.progress(source)
            whole = target.with_suffix(f".{os.getpid()}.ii")
            partial = whole.with_suffix(".o")
            try:
                whole.write_bytes(text)
                self.run("g++", *rest, "-c", str(whole), "-o", str(partial))
                partial.replace(target)
            except EngineError:
                if not self.stopped:  # compile the source itself, so that the error names its file and line
                    self.run("g++", *flags, "-c", source, "-o", str(partial))
                raise
            finally:
                for leftover in (whole, partial):
                    if leftover.exists():
                        leftover.unlink()
        return target

    def compile_all(self, sources: Tuple[str, ...], flags: Tuple[str, ...]) -> List[Path]:
        """Compile several sources at a time; the first failure, or an interruption, ends the rest."""
        with ThreadPoolExecutor(self.jobs) as pool:
            pending = [pool.submit(self.compile, source, flags) for source in sources]
            try:
                wait(pending, return_when=FIRST_EXCEPTION)
                return [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                self.stopped = True
                stop(list(self.running), grace=0)
                raise
