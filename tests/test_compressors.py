"""The registry of compressors, and the options of each."""

import json

from byteps_gc import compressors
from byteps_gc.compressors import Dithering, Identity, Onebit, RandomK, TopK
from byteps_gc.errors import CompressionError
from hypothesis import given
from hypothesis import strategies as st
import pytest

EXAMPLES = [
    Onebit(),
    Onebit(scaling=True),
    TopK(k=0.001),
    TopK(k=5, half=True),
    RandomK(k=0.5, seed=3),
    Dithering(k=2),
    Dithering(k=30, partition="natural", normalize="l2", bucket=512, seed=1),
    Identity(half=True),
]


def test_known_names():
    assert compressors.known() == ("dithering", "identity", "onebit", "randomk", "topk")


@pytest.mark.parametrize("one", EXAMPLES, ids=repr)
def test_options_survive_json_and_repr(one):
    again = compressors.find(one.name)(**json.loads(json.dumps(one.options())))
    assert again == one
    assert eval(repr(one)) == one


def test_a_compressor_cannot_be_changed():
    with pytest.raises(AttributeError):
        TopK(k=1).k = 2


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CompressionError, match="'topkk'; known: dithering, identity, onebit, randomk, topk"):
        compressors.find("topkk")


def test_a_name_is_registered_once():
    with pytest.raises(CompressionError, match="compressor onebit is already registered"):
        compressors.register(Onebit)


@pytest.mark.parametrize(
    "kind, options, words",
    [
        (Onebit, {"scaling": 1}, "scaling=1 is not True or False"),
        (TopK, {"k": "0.1"}, "k='0.1' is not a number"),
        (TopK, {"k": True}, "k=True is not a number"),
        (TopK, {"k": 0}, "neither a fraction between 0 and 1 nor an integer"),
        (TopK, {"k": -1}, "neither a fraction"),
        (TopK, {"k": 1.5}, "neither a fraction"),
        (TopK, {"k": float("nan")}, "neither a fraction"),
        (TopK, {"k": float("inf")}, "neither a fraction"),
        (RandomK, {"k": 0.1, "seed": -1}, "seed=-1 is not an integer from 0 to"),
        (RandomK, {"k": 0.1, "seed": 1.0}, "seed=1.0 is not an integer"),
        (Dithering, {"k": 0}, "k=0 is not an integer from 1"),
        (Dithering, {"k": 2.0}, "k=2.0 is not an integer"),
        (Dithering, {"k": 31, "partition": "natural"}, "k=31 is not at most 30"),
        (Dithering, {"k": 2, "partition": "log"}, "partition='log' is not one of linear, natural"),
        (Dithering, {"k": 2, "normalize": "l1"}, "normalize='l1' is not one of max, l2"),
        (Dithering, {"k": 2, "bucket": 511}, "bucket=511 is neither 0 nor an integer from 512 to 8192"),
        (Dithering, {"k": 2, "bucket": 8193}, "bucket=8193 is not an integer from 0 to 8192"),
        (Identity, {"half": "yes"}, "half='yes' is not True or False"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_accepted(kind, options, words):
    with pytest.raises(CompressionError, match=words):
        kind(**options)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True) | st.integers(1, 10**9))
def test_every_fraction_and_count_is_accepted(k):
    assert TopK(k=k).k == k
