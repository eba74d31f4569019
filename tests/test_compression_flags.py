"""The compression flags of the training scripts."""

import argparse

from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.settings import Settings
from byteps_gc.compressors.topk import TopK
from byteps_gc.errors import CompressionError
from byteps_gc.training import compression_flags
import pytest


def read(words):
    parser = argparse.ArgumentParser()
    compression_flags.add_compression(parser)
    return compression_flags.compression(parser.parse_args(words.split()))


@pytest.mark.parametrize(
    "words, settings",
    [
        ("", Settings()),
        ("--fp16-pushpull --seed 3", Settings(fp16=True)),
        ("--bf16-pushpull", Settings(bf16=True)),
        (
            "--compressor onebit --onebit-scaling --ef vanilla --compress-momentum nesterov",
            Settings(Onebit(scaling=True), ef="vanilla", momentum="nesterov"),
        ),
        ("--compressor topk --k 0.001 --seed 3", Settings(TopK(k=0.001))),
        ("--compressor randomk --k 7 --seed 3", Settings(RandomK(k=7, seed=3))),
        ("--compressor dithering --k 2 --normalize l2", Settings(Dithering(k=2, normalize="l2"))),
        ("--compressor dithering --k 4 --partition natural", Settings(Dithering(k=4, partition="natural"))),
        ("--compressor dithering --k 16 --reply encoded", Settings(Dithering(k=16, reply="encoded"))),
    ],
)
def test_flags_become_settings(words, settings):
    assert read(words) == settings


@pytest.mark.parametrize(
    "words, message",
    [
        ("--compressor onebit --k 3", "--k is not an option of onebit; its options: --onebit-scaling"),
        ("--compressor topk --k 0.1 --onebit-scaling", "--onebit-scaling is not an option of topk"),
        ("--k 3", "--k needs --compressor; known: "),
        ("--compressor onbit", "unknown compressor 'onbit'"),
        ("--ef vanilla", "needs a compressor"),
        ("--compressor topk", "topk needs k"),
    ],
)
def test_flags_that_do_not_go_together(words, message):
    with pytest.raises(CompressionError, match=message):
        read(words)
