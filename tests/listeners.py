"""Where processes of a job listen, as a port scan or ``/proc`` shows."""

import contextlib
import os
from pathlib import Path
import socket
import struct
from typing import Iterator, List, NamedTuple, Set

LISTENS = "0A"  # as /proc/net/tcp has it


class Listener(NamedTuple):
    """A TCP port that a role's process listens on."""

    role: str
    address: str
    port: int

    def connect(self, seconds: float = 10) -> socket.socket:
        """Connect to it."""
        return socket.create_connection((self.address, self.port), seconds)


def listeners(role: str, pid: int) -> Iterator[Listener]:
    """The TCP ports that a process listens on."""
    mine = sockets(pid)
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == LISTENS and words[9] in mine:
            address, port = words[1].split(":")
            yield Listener(role, socket.inet_ntoa(struct.pack("=I", int(address, 16))), int(port, 16))


def local_sockets(pid: int) -> List[str]:
    """The names of the abstract unix sockets that a process has."""
    mine, found = sockets(pid), []
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) == 8 and words[6] in mine and words[7].startswith("@"):
            found.append(words[7][1:])
    return sorted(set(found))


def sockets(pid: int) -> Set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(str(link)))
    return {link[len("socket:[") : -1] for link in found if link.startswith("socket:[")}
