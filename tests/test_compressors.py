"""The registry of compressors, and the options of each."""

import argparse
from dataclasses import dataclass, fields
import json

from byteps_gc import compressors, native
from byteps_gc.compressors import registry as registration
from byteps_gc.compressors.base import option
from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.settings import Settings
from byteps_gc.compressors.topk import TopK
from byteps_gc.errors import CompressionError
from byteps_gc.training import compression_flags
from hypothesis import given
from hypothesis import strategies as st
from laws import ROWS
import pytest


@pytest.fixture
def registry(monkeypatch):
    """The registry's dict, as it was afterwards."""
    kinds = dict(registration._kinds)
    monkeypatch.setattr(registration, "_kinds", kinds)
    return kinds


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_options_survive_json_and_repr(row):
    one = row.compressor
    assert compressors.find(one.name)(**json.loads(json.dumps(one.options()))) == one
    assert eval(repr(one), {type(one).__name__: type(one)}) == one


@pytest.mark.parametrize("kind", compressors.kinds(), ids=lambda kind: kind.name)
def test_the_examples_are_options(kind):
    assert kind.examples and all(kind(**options) for options in kind.examples)


def test_a_compressor_cannot_be_changed():
    with pytest.raises(AttributeError):
        TopK(k=1).k = 2


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(CompressionError, match=f"'topkk'; known: {', '.join(compressors.known())}"):
        compressors.find("topkk")


def test_every_definition_is_registered():
    """The package imports all of its modules, and what declares a name has to register it."""
    found, left = set(), [compressors.Compressor]
    while left:
        left += left.pop().__subclasses__()
        found.update(kind for kind in left if kind.name and kind.__module__.startswith("byteps_gc."))
    assert found == set(compressors.kinds()) and len(found) > 4


def declared(options, name="new", number=250):
    """A compressor that is not registered."""
    fields = {key: kind.annotation for key, kind in options.items()}
    body = {key: kind.field for key, kind in options.items()}
    return dataclass(frozen=True)(
        type("New", (compressors.Compressor,), {"name": name, "codec": number, "__annotations__": fields, **body})
    )


class Declared:
    """An option of :func:`declared`."""

    def __init__(self, kind, **words):
        self.annotation, self.field = kind, option(kind, "what it means", **words)


@pytest.mark.parametrize(
    "kind, reason",
    [
        (declared({}, name="onebit"), "compressor onebit is already registered"),
        (declared({}, number=2), "compressor new: number 2 is that of topk"),
        (declared({}, number=0), "compressor new: codec=0 is not an integer from 1 to 255"),
        (declared({"version": Declared(int)}), "compressor new: option version has a reserved name"),
        (declared({"half": Declared(int)}), "compressor new: option half has another type or flag in topk"),
        (
            declared({"seed": Declared(int, flag="new")}),
            "compressor new: option seed has another type or flag in randomk",
        ),
        (declared({"pace": Declared(float, flag="k")}), "compressor new: option pace has the flag of topk's option k"),
        (
            declared({"pace": Declared(list)}),
            r"compressor new: option pace must be declared with option\(\), as a bool, ",
        ),
        (
            declared({"pace": Declared(int, default="1")}),
            "compressor new: option pace has the default '1', which is not an integer",
        ),
    ],
)
def test_what_cannot_be_registered(registry, kind, reason):
    before = dict(registry)
    with pytest.raises(CompressionError, match=reason):
        compressors.register(kind)
    assert registry == before


def test_a_registered_compressor_has_flags_and_settings(registry):
    """An option of its own gets a flag with its help; other compressors' flags and jobs stay what they are."""
    new = compressors.register(
        declared({"k": Declared(int), "way": Declared(str, choices=("a",)), "fast_mode": Declared(bool, default=False)})
    )
    parser = argparse.ArgumentParser()
    compression_flags.add_compression(parser)
    words = "--compressor new --k 3 --fast-mode --way a".split()
    assert compression_flags.compression(parser.parse_args(words)) == Settings(new(k=3, fast_mode=True, way="a"))
    words = "--compressor topk --k 0.5 --seed 3".split()
    assert compression_flags.compression(parser.parse_args(words)) == Settings(TopK(k=0.5))
    assert "--way WAY what it means: a (new)" in " ".join(parser.format_help().split())
    with pytest.raises(CompressionError, match="--way is not an option of topk; its options: --k, --half"):
        compression_flags.compression(parser.parse_args([*words, "--way", "a"]))


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
        (Dithering, {"k": 2, "reply": "short"}, "reply='short' is not one of lossless, encoded"),
        (Dithering, {"k": 2, "bucket": 63}, "bucket=63 is neither 0 nor an integer from 64 to 8192"),
        (Dithering, {"k": 1, "rounding": "nearest", "normalize": "l2"}, "rounding=nearest needs normalize=max"),
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


NUMBERED = [kind.name for kind in compressors.kinds()]


class Given:
    """Options of a compressor as somebody may register them, whatever they are."""

    def __init__(self, name, options):
        self.name, self.given = name, options

    def sent_options(self):
        return self.given


@pytest.mark.parametrize(
    "name, options, reason",
    [
        ("twobit", {}, f"unknown compressor twobit; the native library has {', '.join(NUMBERED)}"),
        ("onebit", {}, "option scaling is missing"),
        ("onebit", {"scaling": "yes"}, "option scaling=yes is invalid"),
        ("onebit", {"scaling": True, "k": 1}, "option k is unknown or too long"),
        ("onebit", {"scaling": "x" * 201}, "option scaling is unknown or too long"),
        ("topk", {"k": 1.5, "half": False}, "option k=1.5 is invalid"),
        ("topk", {"k": "1e400", "half": False}, "option k=1e400 is invalid"),
    ],
)
def test_the_library_refuses_options_in_one_line(name, options, reason):
    with pytest.raises(CompressionError) as found:
        native.Server(Given(name, options), 1000)
    assert str(found.value) == reason


def tried(field):
    """Values of an option: inside its range, at its ends and outside."""
    meta = field.metadata
    if meta["choices"] or meta["kind"] is bool:
        return [*(meta["choices"] or (True, False)), "other"]
    bounds = {bound for bound in (meta["least"], meta["most"]) if bound is not None}
    return sorted({-1, 0, 0.5, 1, 1.5, 30, 31, 63, 64, 2**32 - 1, 2**32}.union(*({b - 1, b, b + 1} for b in bounds)))


def accepts(make):
    """Whether something can be made."""
    try:
        make()
    except CompressionError:
        return False
    return True


def is_sent(field, value):
    """Whether an option's value is registered."""
    return not field.metadata["later"] or value != field.default


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_library_accepts_the_options_that_the_definition_does(row):
    kind = type(row.compressor)
    for field in fields(kind):
        for value in tried(field):
            options = {**row.compressor.options(), field.name: value}
            expected = accepts(lambda: kind(**options))  # noqa: B023
            sent = {one.name: options[one.name] for one in fields(kind) if is_sent(one, options[one.name])}
            found = accepts(lambda: native.Server(Given(kind.name, sent), 1000))  # noqa: B023
            assert found == expected, options


def test_encoded_replies_and_nearest_rounding_need_error_feedback():
    one = Dithering(k=2, reply="encoded")
    assert "use ef=vanilla" in one.advice(False)
    assert one.advice(True) == Dithering(k=2).advice(False) == ""
    nearest = Dithering(k=1, rounding="nearest")
    assert "biased" in nearest.advice(False) and nearest.advice(True) == ""
