"""Environments for tests: a PATH without a compiler, and packages of this environment for another Python process."""

import os
from pathlib import Path
import re
import sysconfig

COMPILERS = re.compile(r"(.*-)?(g\+\+|gcc|cc|c\+\+|cpp|clang|clang\+\+|ld|ld\.\w+|as|make|gmake)(-[\d.]+)?")


def path_without_compiler(folder: Path) -> str:
    """Fill a folder with links to all programs of PATH but compilers, linkers and make; return a PATH of it alone."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if place else ():
            link = folder / program.name
            if not COMPILERS.fullmatch(program.name) and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def packages(folder: Path, without: tuple) -> Path:
    """Fill a folder with links to this environment's packages, for PYTHONPATH; return it.

    without: beginnings of names that are left out.
    """
    folder.mkdir()
    for file in Path(sysconfig.get_path("purelib")).iterdir():
        if not file.name.lower().startswith(("__", "pip", *without)) and file.suffix != ".pth":
            (folder / file.name).symlink_to(file)
    return folder
