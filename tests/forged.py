"""Messages of a job as their bytes, right or wrong: what ``engine/files/wire.h`` describes, written down once more."""

from dataclasses import asdict, dataclass
import struct
from typing import Dict, Iterator, List, Sequence, Tuple

MAGIC = 0x32636762
HEADER = struct.Struct("<IBBHiiiiii")
NODE = struct.Struct("<iiiiBB2x64s32s")
PLACE = struct.Struct("<QQQ")
EMPTY, TERMINATE, ADD_NODE, BARRIER, ACK, HEARTBEAT = range(6)  # ps-lite's commands
REQUEST, PUSH = 1, 2
KEYS = (0, 2**63)  # one of each of two servers; which of them has which depends on who arrives first
NOBODY = 2**31 - 1  # the id of a node that has none yet
ALL = 7  # the group of all nodes
FLOAT32 = 0
EXTREMES = (-(2**31), -1, 1, 7, 2**31 - 1)


@dataclass(frozen=True)
class Header:
    """The fields of a header in their order; by default those of a worker's push of float32 values."""

    magic: int = MAGIC
    command: int = EMPTY
    flags: int = REQUEST | PUSH
    nodes: int = 0
    head: int = FLOAT32
    app: int = 0
    customer: int = 0
    timestamp: int = 0
    option: int = 1
    group: int = 0

    def packed(self) -> bytes:
        """Its bytes."""
        return HEADER.pack(*asdict(self).values())

    def but(self, **fields: int) -> "Header":
        """This header with other values in some fields."""
        return Header(**{**asdict(self), **fields})


def node(
    identity: int = NOBODY,
    role: int = 1,
    port: int = 1234,
    host: bytes = b"127.0.0.1",
    customer: int = 0,
    user: int = 0,
) -> bytes:
    """A node as a header's entry describes it; role: 0 for a server, 1 for a worker, 2 for the scheduler."""
    return NODE.pack(identity, port, customer, user, role, 0, host, b"")


def push(key: int = 0, values: bytes = bytes(16), header: Header = Header(), length: int = -1) -> List[bytes]:
    """A push of one key's values; ``length`` is what it says they have, if that is not true."""
    size = len(values) if length == -1 else length
    return [header.packed(), struct.pack("<Q", key), values, struct.pack("<i", size)]


def pull(key: int = 0, header: Header = Header(flags=REQUEST)) -> List[bytes]:
    """A pull of one key."""
    return [header.packed(), struct.pack("<Q", key), b""]


def controls() -> Iterator[List[bytes]]:
    """Every control message, also those that do not exist, as a request and as an answer, with and without nodes."""
    for command in [*range(1, 12), 127, 255]:
        for flags in (0, REQUEST, REQUEST | PUSH, 4, 255):
            for nodes in (0, 1, 2, 65535):
                header = Header(command=command, flags=flags, nodes=nodes, group=ALL if command == BARRIER else 0)
                yield [header.packed() + node() * min(nodes, 2)]
    for identity in (1, 8, 9, 10, 11, 13, *EXTREMES):
        for role in (0, 1, 2, 255):
            header = Header(command=ADD_NODE, flags=0, nodes=1)
            yield [header.packed() + node(identity, role)]
            yield [header.but(flags=REQUEST).packed() + node(identity, role)]
    for port, host in (
        (0, b"h"),
        (-1, b"h"),
        (65536, b"h"),
        (1, b""),
        (1, b"h" * 64),
        (1, b"\xff" * 63),
        (1, b"127.0.0.1"),
    ):
        yield [Header(command=ADD_NODE, flags=0, nodes=1).packed() + node(port=port, host=host)]
    for group in (*range(8), *EXTREMES):
        for flags in (0, REQUEST):
            yield [Header(command=BARRIER, flags=flags, group=group).packed()]
    yield [Header(command=BARRIER, flags=REQUEST, group=ALL).packed(), b"data"]


def headers() -> Iterator[Header]:
    """A push's header with one field in turn as no push has it."""
    good = Header()
    for name in ("app", "customer", "group"):
        for value in EXTREMES:
            yield good.but(**{name: value})
    for value in (0, MAGIC + 1, 2**32 - 1):
        yield good.but(magic=value)
    for value in (0, PUSH, 4, 128, 255):
        yield good.but(flags=value)
    for value in (1, 4096, 4097, 65535):
        yield good.but(nodes=value)


def requests(key: int) -> Iterator[List[bytes]]:
    """Well-formed pushes and pulls."""
    yield push(key)
    yield pull(key)
    for name in ("head", "timestamp", "option"):
        for value in EXTREMES:
            yield push(key, header=Header().but(**{name: value}))
            yield pull(key, header=Header(flags=REQUEST).but(**{name: value}))


def malformed(key: int) -> Iterator[List[bytes]]:
    """Pushes and pulls with each field and each part wrong in turn."""
    for header in headers():
        yield push(key, header=header)
        yield pull(key, header=header)
    header, name, values, length = push(key)
    for size in (0, 1, 31, 33, 64):
        yield [(header * 3)[:size], name, values, length]
    for wrong in (b"", name[:7], name + b"\0", name * 2, b"\xff" * 8):
        yield [header, wrong, values, length]
    for wrong in (b"", length[:3], length + b"\0", length * 2):
        yield [header, name, values, wrong]
    for size in (0, 15, 17, *EXTREMES):
        yield push(key, length=size if size != -1 else -2)
    for count in (1, 2, 3, 5, 6, 7):
        yield (push(key) * 2)[:count]
    for place in ((0, 0, 16), (2**64 - 1, 0, 16), (0, 2**64 - 1, 16), (0, 0, 2**64 - 1), (0, 0, 2**31)):
        yield [header, name, values, length, PLACE.pack(*place)]
    for place in ((2**64 - 1, 0, 16), (0, 2**64 - 1, 16), (0, 0, 2**64 - 1), (0, 0, 2**31)):
        yield [header, name, b"", length, PLACE.pack(*place)]
    yield [header, name, b"", length, PLACE.pack(0, 0, 16)[:-1]]


TEXTS: Tuple[bytes, ...] = (
    b"hello",
    b"hello ",
    b"hello x y",
    b"hello 0",
    b"hello 0 worker-0 on 127.0.0.1",
    b"hello 0 worker-0 on 127.0.0.1;DMLC_NUM_WORKER=1;BYTEPS_GC_ENCRYPT=7",
    b"hello -1 server on 127.0.0.1;",
    b"hello -2 x",
    b"hello 2 worker-2 on 127.0.0.1;",
    b"hello 99999999999999999999 x",
    b"hello 0 " + b"x" * 3000,
    b"hello 0 \xff\x00\n",
    b"alive",
    b"bye",
    b"end a stranger says so",
    b"no a stranger says so",
    b"scheduler a stranger",
    b"\x00",
    b"x" * 4096,
)


def texts() -> Iterator[List[bytes]]:
    """What liveness says, and what it does not."""
    for text in TEXTS:
        yield [b"", text]
        yield [b"", text, text]
    yield [b""]


def everything() -> Dict[str, Sequence[List[bytes]]]:
    """All messages that are forged, by kind."""
    data = [message for key in KEYS for message in (*requests(key), *malformed(key))]
    return {"control messages": list(controls()), "texts": list(texts()), "data": data}
