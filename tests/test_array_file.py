"""The structure of MXNet's files of arrays: whole ones are accepted, damaged ones never reach MXNet's reader."""

import io
import struct

import byteps_gc  # noqa: F401
from byteps_gc.checkpoint_files import array_file
import mxnet as mx
import numpy as np
import pytest

TYPES = ("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool")
PLACES = {"magic": 0, "count of arrays": 16, "storage": 28, "dimensions": 32, "size": 36, "device": 44, "type": 52}


def saved(folder, arrays, save=mx.nd.save):
    """The content of a file of arrays, and its name."""
    name = str(folder / "arrays")
    save(name, arrays)
    with open(name, "rb") as stream:
        return stream.read(), name


def fault(content):
    return array_file.fault(io.BytesIO(content))


def sparse(kind):
    array = mx.nd.ones((4, 3)).tostype(kind)
    array.wait_to_read()
    return array


def test_what_mxnet_writes_is_accepted(tmp_path):
    dense = {name: mx.nd.ones((2, 3), dtype=name) for name in TYPES}
    kinds = {kind: sparse(kind) for kind in ("row_sparse", "csr")}
    zeros = {kind: mx.nd.sparse.zeros(kind, (4, 3)) for kind in kinds}
    for arrays in (dense, list(dense.values()), kinds, zeros, []):
        assert fault(saved(tmp_path, arrays)[0]) == ""
    mx.npx.set_np()
    try:
        numpys = {"scalar": mx.np.array(3.0), "nothing": mx.np.zeros((0, 3))}
        assert fault(saved(tmp_path, numpys, mx.npx.save)[0]) == ""
    finally:
        mx.npx.reset_np()


def test_the_older_forms_are_accepted(tmp_path):
    """As MXNet reads them."""
    ones = np.ones(6, np.float32).tobytes()
    forms = [struct.pack("<IiqqiiI", array_file.V1, 2, 2, 3, 1, 0, 0), struct.pack("<IIIiiI", 2, 2, 3, 1, 0, 0)]
    for form in forms:
        content = struct.pack("<3Q", 0x112, 0, 1) + form + ones + struct.pack("<Q", 0)
        (tmp_path / "old").write_bytes(content)
        assert fault(content) == "" and mx.nd.load(str(tmp_path / "old"))[0].shape == (2, 3)


def test_a_file_that_ends_early_or_late_is_refused(tmp_path):
    content, _ = saved(tmp_path, {"a": mx.nd.ones((2, 3)), "b": mx.nd.ones(1)})
    assert all(fault(content[:end]) for end in range(len(content)))
    assert fault(content + b"x") == "it has 1 bytes after its end"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [b"\xff" * 4, b"\xff\xff\xff\x7f"])
def test_a_number_that_cannot_be_is_refused(tmp_path, place, value):
    content, _ = saved(tmp_path, {"a": mx.nd.ones(7)})
    at = PLACES[place]
    assert fault(content[:at] + value + content[at + 4 :])


def test_what_is_accepted_is_loaded(tmp_path):
    """With any byte changed, MXNet reads what passed the check to its end."""
    content, name = saved(tmp_path, {"layer_weight": mx.nd.ones((2, 3)), "layer_bias": mx.nd.ones(4)})
    passed = 0
    for place in range(len(content)):
        for change in (1, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= change
            if not fault(damaged):
                passed += 1
                with open(name, "wb") as stream:
                    stream.write(damaged)
                assert len(mx.nd.load(name)) == 2
    assert 0 < passed < len(content) * 3
