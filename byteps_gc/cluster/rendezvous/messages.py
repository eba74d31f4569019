"""The messages of a rendezvous, and the check of those that arrive.

A message is a JSON object with a ``kind`` and the fields of KINDS. :func:`parse` accepts nothing else.
"""

import json
from typing import Any, Callable, Dict, List, NoReturn, Sequence

LARGEST = 1 << 20  # bytes of a message


def is_text(value: object) -> bool:
    """Whether this is a string."""
    return isinstance(value, str)


def is_words(value: object) -> bool:
    """Whether this is a list of strings."""
    return isinstance(value, list) and all(map(is_text, value))


def is_settings(value: object) -> bool:
    """Whether this is an object of strings."""
    return isinstance(value, dict) and all(map(is_text, value.values()))


def is_plan(value: object) -> bool:
    """Whether this is null, or a list of jobs, each with the checkpoint that it continues from."""
    return value is None or isinstance(value, list) and all(is_words(task) and len(task) == 2 for task in value)


KINDS: Dict[str, Dict[str, Callable[[object], bool]]] = {
    # from a host to the one that schedules
    "hello": {"host": is_text, "words": is_words, "settings": is_settings, "plan": is_plan},
    # from the host that schedules to one that said hello
    "welcome": {},
    "busy": {},  # with a run that has begun: try again
    "refused": {"why": is_text},
    "go": {"plan": is_plan},  # all hosts have joined
    "probe": {},  # checks the connection
    # from both
    "failed": {"host": is_text, "why": is_text},
    "done": {},
}


def pack(kind: str, **fields: object) -> bytes:
    """Return a message as it is sent."""
    return json.dumps({"kind": kind, **fields}).encode()


def no_number(text: str) -> NoReturn:
    """Reject a number: no message has one, and a long one takes long to read."""
    raise ValueError("a number")


def parse(parts: Sequence[bytes], kinds: Sequence[str]) -> Dict[str, Any]:
    """Return a message of one of the ``kinds``; ValueError says what is wrong with it."""
    if len(parts) != 1:
        raise ValueError(f"it has {len(parts)} parts, not one")
    try:
        message = json.loads(
            parts[0].decode(), parse_int=no_number, parse_float=no_number, parse_constant=no_number
        )  # fmt: skip
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ValueError("it is not a JSON object of texts")
    kind = message.get("kind")
    if not is_text(kind) or kind not in kinds:
        raise ValueError(f"its kind is not {' or '.join(kinds)}" if kinds else "none is expected")
    checks = dict(KINDS[kind], kind=is_text)
    wrong: List[str] = sorted(name for name, check in checks.items() if name not in message or not check(message[name]))
    if wrong or len(message) != len(checks):
        raise ValueError(f"its field {wrong[0]!r} is missing or wrong" if wrong else "it has unknown fields")
    return message


def printable(text: str) -> str:
    """Return a text from the network in one line, with escapes for what a terminal would not show."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
