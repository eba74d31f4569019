"""BytePS's dict of compression parameters, and how it is spelled to the engine."""

import json
import warnings

from byteps_gc.compressors import engine_keys
from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.settings import Settings
from byteps_gc.compressors.topk import TopK
from byteps_gc.errors import CompressionError
from hypothesis import given
from hypothesis import strategies as st
import pytest

GUIDE = {
    "baseline": {},
    "onebit": {"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"},
    "topk": {"compressor": "topk", "k": 0.001},
    "randomk": {"compressor": "randomk", "k": 0.001},
    "dithering": {"compressor": "dithering", "k": 2, "normalize": "l2"},
}


@pytest.mark.parametrize("params", GUIDE.values(), ids=list(GUIDE))
def test_the_guides_jobs_are_read_and_the_dict_stays(params):
    before = dict(params)
    settings = Settings.from_params(params)
    assert params == before
    assert Settings.from_params(settings.to_params()) == settings
    assert (settings.compressor.name if settings.compressor else "baseline") == params.get("compressor", "baseline")


def test_none_false_and_empty_mean_not_given():
    empty = {"compressor": None, "k": None, "ef": "", "momentum": None, "fp16": False, "scaling": False}
    assert Settings.from_params(empty) == Settings.from_params({}) == Settings.from_params(None) == Settings()


def test_another_compressors_option_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="ignoring k: not an option of onebit"):
        settings = Settings.from_params({"compressor": "onebit", "scaling": True, "k": 1})
    assert settings == Settings(Onebit(scaling=True))


@pytest.mark.parametrize(
    "params, words",
    [
        ({"compresor": "onebit"}, "unknown option compresor; known: compressor, "),
        ({"compressor": "twobit"}, "unknown compressor 'twobit'; known: "),
        ({"compressor": "topk"}, "topk needs k"),
        ({"compressor": "topk", "k": "many"}, "k='many' is not a number"),
        ({"compressor": "topk", "k": 0.1, "ef": "chocolate"}, "ef='chocolate' is not one of vanilla"),
        ({"compressor": "topk", "k": 0.1, "momentum": "heavy"}, "momentum='heavy' is not one of nesterov"),
        ({"ef": "vanilla"}, "ef='vanilla' needs a compressor"),
        ({"fp16": "yes"}, "fp16='yes' is not True or False"),
        ({"bf16": "yes"}, "bf16='yes' is not True or False"),
        ({"fp16": True, "bf16": True}, "fp16 and bf16 exclude each other; set one of them"),
        ({"compressor": "topk", "k": 5, "half": True, "bf16": True}, "bf16 and topk's half exclude each other"),
        ({"compressor": "topk", "k": 5, "half": True, "bfloat16": True}, "topk: half and bfloat16 exclude each other"),
        (["onebit"], "compression_params must be a dict, not list"),
    ],
)
def test_what_cannot_work_is_refused(params, words):
    with pytest.raises(CompressionError, match=words):
        Settings.from_params(params)


compressors = st.one_of(
    st.builds(Onebit, scaling=st.booleans()),
    st.builds(TopK, k=st.floats(1e-6, 0.999)),
    st.builds(RandomK, k=st.integers(1, 1000), seed=st.integers(0, 2**32 - 1)),
    st.builds(
        Dithering,
        k=st.integers(1, 20),
        partition=st.sampled_from(["linear", "natural"]),
        normalize=st.sampled_from(["max", "l2"]),
    ),
)
all_settings = st.builds(
    Settings,
    compressor=compressors,
    ef=st.sampled_from([None, "vanilla"]),
    momentum=st.sampled_from([None, "nesterov"]),
    fp16=st.booleans(),
)


@given(all_settings)
def test_settings_survive_json(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Settings.from_params(json.loads(json.dumps(settings.to_params()))) == settings


def options(params, compressed=True):
    return engine_keys.engine_options(Settings.from_params(params), 0.9, "gradient_0", compressed)


COMMON = {"byteps_compressor_type": "byteps_gc", "byteps_tensor": "gradient_0", "byteps_version": "1"}


def test_wire_keys_of_the_guides_jobs():
    spelled = {name: options(params) for name, params in GUIDE.items()}
    assert spelled["baseline"] == {}
    assert spelled["onebit"] == {
        **COMMON,
        "byteps_codec": "onebit",
        "byteps_scaling": "true",
        "byteps_ef": "vanilla",
        "byteps_mu": "0.9",
    }
    assert spelled["topk"] == {**COMMON, "byteps_codec": "topk", "byteps_k": "0.001", "byteps_half": "false"}
    assert spelled["dithering"] == {
        **COMMON,
        "byteps_codec": "dithering",
        "byteps_k": "2",
        "byteps_partition": "linear",
        "byteps_normalize": "l2",
        "byteps_bucket": "0",
        "byteps_seed": "0",
        "byteps_reply": "lossless",
    }


def test_fp16_on_the_wire():
    """What is compressed sends its values as float16; what is not is cast, without momentum or error feedback."""
    params = {"compressor": "topk", "k": 0.1, "ef": "vanilla", "momentum": "nesterov", "fp16": True}
    assert options(params)["byteps_half"] == "true"
    assert options(params, compressed=False) == {**COMMON, "byteps_codec": "identity", "byteps_half": "true"}
    assert options({"fp16": True}) == options(params, compressed=False)


def test_bf16_on_the_wire():
    params = {"compressor": "topk", "k": 0.1, "bf16": True}
    assert options(params)["byteps_half"] == "false" and options(params)["byteps_bfloat16"] == "true"
    assert options({"bf16": True}) == {
        **COMMON,
        "byteps_codec": "identity",
        "byteps_half": "false",
        "byteps_bfloat16": "true",
    }
    assert options({"bf16": True}) == options(params, compressed=False)
    assert options({"compressor": "topk", "k": 0.1}, compressed=False) == {}


@given(all_settings)
def test_the_wire_carries_words_without_spaces(settings):
    for key, value in engine_keys.engine_options(settings, 0.9, "gradient_0", True).items():
        assert key.startswith("byteps_") and isinstance(value, str) and value and not value.split()[1:]
