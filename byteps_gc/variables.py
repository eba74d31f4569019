"""The environment variables that the package, the engine and the scripts read: what each accepts, and its default.

This is the only such table. :mod:`byteps_gc.env` reads values by it, :func:`check` checks all of them before anything
starts, and docs/environment.md says what each is for. The engine itself reads ``12x`` as 12 and ``many`` as 0.
"""

from dataclasses import dataclass
import difflib
import ipaddress
import re
import socket
from typing import Iterator, Mapping, Optional, Tuple

from byteps_gc.errors import SettingsError

OURS = "BYTEPS_GC_"
INT_MAX = 2**31 - 1  # of the engine's numbers
LONGEST_HOST = 63  # characters of a host's name that the engine has room for
LONGEST = 60  # characters of a value that a message shows


@dataclass(frozen=True)
class Integer:
    """A decimal integer from ``least`` to ``most``."""

    least: int = 0
    most: int = INT_MAX
    default: Optional[int] = None

    @property
    def accepted(self) -> str:
        """What is accepted, for messages."""
        return "0 or 1" if (self.least, self.most) == (0, 1) else f"an integer from {self.least} to {self.most}"

    def accepts(self, value: str) -> bool:
        """Return whether a value can be used."""
        return bool(re.fullmatch(r"-?[0-9]{1,18}", value)) and self.least <= int(value) <= self.most


@dataclass(frozen=True)
class Text:
    """A text that ``pattern`` describes as a whole, and ``accepted`` in words."""

    accepted: str
    pattern: str
    default: str = ""

    def accepts(self, value: str) -> bool:
        """Return whether a value can be used."""
        return bool(re.fullmatch(self.pattern, value))


@dataclass(frozen=True)
class Choice:
    """One of some words; ``any_case``: in capitals or not."""

    words: Tuple[str, ...]
    default: str = ""
    any_case: bool = False

    @property
    def accepted(self) -> str:
        """What is accepted, for messages."""
        return f"one of {', '.join(self.words)}" if self.words[1:] else self.words[0]

    def accepts(self, value: str) -> bool:
        """Return whether a value can be used."""
        return (value.upper() if self.any_case else value) in self.words


@dataclass(frozen=True)
class Addresses:
    """IPv4 addresses or host names; as many as ``most``, between spaces or commas. ``file``: or a path with a slash."""

    most: int = 1
    file: bool = False
    default: str = ""

    @property
    def accepted(self) -> str:
        """What is accepted, for messages."""
        one = "an IPv4 address or a host name" if self.most == 1 else "a list of IPv4 addresses or host names"
        one += f" of at most {LONGEST_HOST} characters"
        return f"{one}, or the path of a file (with a slash)" if self.file else one

    def accepts(self, value: str) -> bool:
        """Return whether a value can be used."""
        if self.file and "/" in value:
            return PATH.accepts(value)
        words = value.replace(",", " ").split()
        return 0 < len(words) <= self.most and all(map(is_address, words))


@dataclass(frozen=True)
class Interface:
    """A network interface of this machine."""

    default: str = ""

    @property
    def accepted(self) -> str:
        """What is accepted, for messages."""
        return f"a network interface of this machine ({', '.join(name for _, name in socket.if_nameindex())})"

    def accepts(self, value: str) -> bool:
        """Return whether a value can be used."""
        return any(name == value for _, name in socket.if_nameindex())


def is_address(text: str) -> bool:
    """Return whether a text can be a host name or is an IPv4 address."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            return bool(ipaddress.IPv4Address(text))
        except ValueError:
            return False
    return len(text) <= LONGEST_HOST and bool(re.fullmatch(rf"{LABEL}(\.{LABEL})*\.?", text))


LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
NAME = r"[A-Za-z0-9_.-]{1,64}"
CORES = r"\s*[0-9]{1,4}(-[0-9]{1,4})?\s*"
GPU = r"(\d{1,3}|(GPU|MIG)-[\w/-]+)"
PLACE = r"[\w.-]{1,253}(:\d{1,5})?"
PATH = Text("a path", r"[^\x00-\x1f\x7f]{1,4095}")
PORT = Integer(1, 65535)
SWITCH = Integer(0, 1)
THREADS = Integer(1, 4096)
DAY = 24 * 60 * 60  # seconds

# BytePS's own defaults (bytes) are kept, so that both sides of the wire agree
TABLE = {
    # the settings of a cluster, see settings.sh
    "BYTEPS_GC_HOSTS": Addresses(65534, file=True, default="127.0.0.1"),
    "BYTEPS_GC_HOST": Addresses(),
    "BYTEPS_GC_SCHEDULER": Addresses(),
    "BYTEPS_GC_PORT": Integer(0, 65535, default=0),
    "BYTEPS_GC_WORKERS_PER_HOST": Integer(1, 1024, default=2),
    "BYTEPS_GC_SERVERS_PER_HOST": Integer(1, 1024, default=2),
    "BYTEPS_GC_BASELINE_THREADS": Integer(0, 4096, default=0),
    "BYTEPS_GC_GPUS": Text("a list of GPUs such as 0,1", f"{GPU}(,{GPU})*"),
    "BYTEPS_GC_INTERFACE": Interface(),
    "BYTEPS_GC_RUN_DIR": PATH,
    "BYTEPS_GC_SECRET_FILE": PATH,
    "BYTEPS_GC_EXPERIMENT": PATH,
    "BYTEPS_GC_PYTHON": PATH,
    # of this package
    "BYTEPS_GC_ENCRYPT": Integer(0, 1, default=1),
    "BYTEPS_GC_DEATH_TIMEOUT": Integer(2, DAY, default=60),
    "BYTEPS_GC_START_TIMEOUT": Integer(1, DAY, default=300),
    "BYTEPS_GC_REGISTRATION_TIMEOUT": Integer(1, DAY, default=60),
    "BYTEPS_GC_CHECK_STEPS": Integer(default=200),
    "BYTEPS_GC_SLOT_BYTES": Integer(1, default=32768),
    "BYTEPS_GC_CACHE": PATH,
    "BYTEPS_GC_SANITIZE": Choice(("thread",)),
    "BYTEPS_GC_VENV": PATH,
    "BYTEPS_GC_BASE_PYTHON": PATH,
    # what the processes of a job hand on
    "BYTEPS_GC_LOCAL_WORKER": Integer(0, 1023, default=0),
    "BYTEPS_GC_LOCAL_SCOPE": Text("a name", NAME),
    "BYTEPS_GC_ROLE": Text("a name", NAME),
    "BYTEPS_GC_BUILD": Text("a text", r"[ -:<-~]{1,64}"),
    # where a process is in its job
    "DMLC_ROLE": Choice(("scheduler", "server", "worker")),
    "DMLC_NUM_WORKER": Integer(1, 65534, default=1),
    "DMLC_NUM_SERVER": Integer(0, 65535),
    "DMLC_WORKER_ID": Integer(0, 65533, default=0),
    "DMLC_PS_ROOT_URI": Addresses(),
    "DMLC_PS_ROOT_PORT": PORT,
    "DMLC_NODE_HOST": Addresses(),
    "DMLC_INTERFACE": Interface(),
    "DMLC_RANK": Integer(),
    "DMLC_USE_KUBERNETES": SWITCH,
    "DMLC_ENABLE_RDMA": Choice(("0", "zmq")),
    "DMLC_ENABLE_UCX": Choice(("0",)),
    "PORT": PORT,
    "BYTEPS_LOCAL_RANK": Integer(0, 1023, default=0),
    "BYTEPS_LOCAL_SIZE": Integer(1, 1024, default=1),
    "BYTEPS_GLOBAL_RANK": Integer(),
    "BYTEPS_FORCE_DISTRIBUTED": Integer(0, 1, default=0),
    "BYTEPS_ORDERED_HOSTS": Text("a list such as 10.0.0.1:1234,10.0.0.2", f"{PLACE}(,{PLACE})*"),
    "BYTEPS_SOCKET_PATH": Text("a path of at most 50 characters", r"[^\x00-\x1f\x7f]{1,50}"),
    # how gradients are divided, placed and exchanged; the engine's lengths are ints
    "BYTEPS_PARTITION_BYTES": Integer(1, 2**30, default=4096000),
    "BYTEPS_MIN_COMPRESS_BYTES": Integer(default=65536),
    "BYTEPS_THREADPOOL_SIZE": Integer(0, 4096),
    "BYTEPS_OMP_THREAD_PER_GPU": THREADS,
    "BYTEPS_SERVER_ENGINE_THREAD": Integer(1, 4096, default=4),
    "BYTEPS_SCHEDULING_CREDIT": Integer(default=0),
    "BYTEPS_ENABLE_ASYNC": Integer(0, 1, default=0),
    "BYTEPS_ENABLE_MIXED_MODE": Integer(0, 1, default=0),
    "BYTEPS_MIXED_MODE_BOUND": Integer(1, default=101),
    "BYTEPS_KEY_HASH_FN": Choice(("naive", "built_in", "djb2", "sdbm", "mixed")),
    "BYTEPS_BUILT_IN_HASH_COEF": Integer(1, default=1),
    "BYTEPS_ZMQ_MAX_SOCKET": Integer(16, 65535, default=1024),
    "BYTEPS_ZMQ_NTHREADS": Integer(1, 1024, default=4),
    # processors and GPUs
    "BYTEPS_NUMA_ON": Integer(0, 1, default=1),
    "BYTEPS_VISIBLE_CPU_CORES": Text("lists of cores such as 0-3,8:4-7", f"{CORES}(,{CORES})*(:{CORES}(,{CORES})*)*"),
    "BYTEPS_PCIE_SWITCH_SIZE": Integer(1, 1024, default=8),
    "BYTEPS_NCCL_GROUP_SIZE": Integer(1, 65535, default=4),
    "BYTEPS_NCCL_NUM_RINGS": Integer(1, 1024, default=1),
    "BYTEPS_REDUCE_ROOTS": Text("a list of local ranks such as 0,1", r"\d{1,4}(,\d{1,4})*"),
    # logs and traces
    "BYTEPS_LOG_LEVEL": Choice(("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "FATAL"), "WARNING", any_case=True),
    "BYTEPS_LOG_HIDE_TIME": Integer(0, 1, default=0),
    "BYTEPS_TELEMETRY_ON": Integer(0, 1, default=1),
    "BYTEPS_TRACE_ON": Integer(0, 1, default=0),
    "BYTEPS_TRACE_START_STEP": Integer(),
    "BYTEPS_TRACE_END_STEP": Integer(),
    "BYTEPS_TRACE_DIR": PATH,
    "BYTEPS_DEBUG_SAMPLE_TENSOR": Text("a key, decimal or with 0x", r"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19}"),
    # ps-lite
    "PS_VERBOSE": Integer(0, 9, default=0),
    "PS_HEARTBEAT_INTERVAL": Integer(0, DAY, default=0),
    "PS_HEARTBEAT_TIMEOUT": Integer(0, DAY, default=0),
    "PS_RESEND": Integer(0, 1, default=0),
    "PS_RESEND_TIMEOUT": Integer(1, default=1000),
    "PS_DROP_MSG": Integer(0, 100, default=0),
}


def shown(value: str) -> str:
    """Return a value for a message: short, and in one line."""
    text = value if value.isprintable() else ascii(value)[1:-1]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def check_value(name: str, value: str) -> str:
    """Return the value of a variable of the table; :class:`SettingsError` if it cannot be used."""
    kind = TABLE[name]
    if value and not kind.accepts(value):
        raise SettingsError(f"{name}={shown(value)} is not {kind.accepted}")
    return value


def check(environ: Mapping[str, str]) -> None:
    """:class:`SettingsError` for the first variable with a value that cannot be used. Empty is as good as not set."""
    for name in TABLE:
        check_value(name, environ.get(name, ""))


def empty(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that are set, but empty, which the engine would read as 0, or as a name."""
    for name, kind in TABLE.items():
        if environ.get(name) == "" and (isinstance(kind, Integer) or not name.startswith(OURS)):
            yield name


def misspelled(environ: Mapping[str, str]) -> Iterator[Tuple[str, str]]:
    """Yield each variable of this package's prefix that is not in the table, but looks like one that is, with that."""
    endings = [name[len(OURS) :] for name in TABLE if name.startswith(OURS)]
    for name in environ:
        if name.startswith(OURS) and name not in TABLE:
            for near in difflib.get_close_matches(name[len(OURS) :].upper(), endings, 1, 0.75):
                yield name, OURS + near
