"""What travels stays what it was: every implementation gives the bytes in tests/golden (scripts/golden.py)."""

import importlib.util

import laws
import pytest

from conftest import ROOT

_spec = importlib.util.spec_from_file_location("golden", ROOT / "scripts" / "golden.py")
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)


def parts(data):
    """The messages of a file."""
    found = []
    while data:
        size = 4 + int.from_bytes(data[:4], "little")
        found.append(data[4:size])
        data = data[size:]
    return found


def test_every_file_has_a_row():
    assert golden.obsolete() == [], "remove these files: scripts/golden.py --write"


@pytest.mark.parametrize("row", laws.ROWS, ids=str)
@pytest.mark.parametrize("implementation", laws.implementations(), ids=lambda one: one.name)
def test_golden(implementation, row):
    file = golden.path(row)
    assert file.is_file(), f"{file.name} is missing; write it: scripts/golden.py --write"
    expected = parts(file.read_bytes())
    found = list(golden.messages(implementation, row))
    names = [f"step {step}, {which}" for step in range(3) for which in ("first push", "second push", "reply")]
    assert [name for name, one, other in zip(names, found, expected) if one != other] == []
    assert len(found) == len(expected) == 9
