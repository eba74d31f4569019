"""The right to create network namespaces, for an ordinary user: a user namespace, or sudo.

In a user namespace the caller is root of its own namespaces only, and files that it writes belong to the caller. Under
sudo they belong to root until :func:`give_back`.
"""

import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import List, Sequence

from byteps_gc import env
from byteps_gc.errors import SettingsError
from byteps_gc.processes import last_line, output_of

USER_NAMESPACE = ("unshare", "--user", "--map-root-user", "--")
SUDO = ("sudo", "-n")
PASSED_ON = ("BYTEPS_", "DMLC_", "OMP_", "MXNET_")  # prefixes of variables that sudo would drop
PROBE = """
import sys
from byteps_gc.cluster.namespaces import NamespaceHosts
from byteps_gc.errors import UserError
try:
    with NamespaceHosts(2, "1gbit", own_files=False):
        pass
except UserError as error:
    sys.exit(str(error))
"""


def sudo() -> List[str]:
    """Return the prefix of a command that runs it as root in this environment, without a password."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    kept.update(PATH=os.environ.get("PATH", os.defpath), BYTEPS_GC_CACHE=str(env.cache_folder()))
    kept.update(PYTHONDONTWRITEBYTECODE="1")
    return [*SUDO, "env", *(f"{name}={value}" for name, value in kept.items())]


def attempt(prefix: List[str]) -> str:
    """Return why a command with this prefix cannot simulate hosts; empty if it can."""
    status, text = output_of([*prefix, sys.executable, "-c", PROBE], stdin=subprocess.DEVNULL)
    return last_line(text) if status else ""


def prefix() -> List[str]:
    """Return the prefix of a command that lets it simulate hosts; empty for root.

    Raises :class:`SettingsError` with all reasons if there is none.
    """
    ways = [[]] if os.geteuid() == 0 else [list(USER_NAMESPACE), sudo()]
    reasons = []
    for way in ways:
        if way and not shutil.which(way[0]):
            reasons.append(f"{way[0]} is not installed")
            continue
        reason = attempt(way)
        if not reason:
            return way
        reasons.append(f"{way[0]}: {reason}" if way else reason)
    raise SettingsError("; ".join(reasons))


def enter(command: Sequence[str]) -> None:
    """Replace this process by ``command`` with the right to simulate hosts, unless this process has it already.

    Raises :class:`SettingsError` with all reasons if that is impossible.
    """
    way = prefix()
    if way:
        os.execvp(way[0], [*way, *command])


def give_back(folder: Path) -> None:
    """Under sudo, make the invoking user the owner of a folder and its contents."""
    if "SUDO_UID" not in os.environ or os.geteuid() != 0:
        return
    owner = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
