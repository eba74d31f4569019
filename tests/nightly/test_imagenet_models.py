"""The guide's ImageNet models at their real size: scripts/nightly.sh runs this, CI does not."""

import json
import sys

from byteps_gc.data import packing
import numpy as np
import pytest

from conftest import EXAMPLE
from small_images import draw

pytestmark = pytest.mark.cluster

STEPS, WORKERS, BATCH, CLASSES = 22, 2, 2, 11


@pytest.mark.parametrize("model, megabytes", [("resnet50_v2", 94.3), ("vgg16", 537.2)])
def test_twenty_steps(commands, tmp_path, model, megabytes):
    """Two workers, baseline and onebit, 224 pixels: the losses are finite, and onebit sends a small part."""
    words = ["--use-rec", "--batch-size", BATCH, "--num-epochs", 1, "--lr", 0.001, "--warmup-lr", 0.001]
    for part, count in (("train", STEPS * WORKERS * BATCH // CLASSES), ("val", 1)):
        draw(tmp_path / part, CLASSES, count, seed=count, side=256)
        packing.pack(tmp_path / part, tmp_path / "packed" / part)
        file = tmp_path / "packed" / part
        words += [f"--rec-{part}", f"{file}.rec", f"--rec-{part}-idx", f"{file}.idx"]
    names = dict(BYTEPS_GC_EXPERIMENT=model, BYTEPS_GC_PYTHON=sys.executable, BYTEPS_GC_RUN_DIR="out")
    result = commands.run(EXAMPLE / "run.sh", "--", *words, timeout=3600, **names)
    assert result.status == 0, result.output
    print((tmp_path / "out" / "table.md").read_text())
    sent = {}
    for job in ("baseline", "onebit"):
        lines = (tmp_path / "out" / job / f"{job}.jsonl").read_text().splitlines()
        record = {event["event"]: event for event in map(json.loads, lines)}
        assert record["start"]["batches"] == STEPS and "end" in record
        assert np.isfinite(record["epoch"]["loss"])
        assert "not finite" not in (tmp_path / "out" / job / "worker-0.log").read_text()
        sent[job] = record["epoch"]["sent_mb_per_step"]
    assert sent["baseline"] == pytest.approx(megabytes, rel=0.02)
    assert sent["onebit"] < sent["baseline"] / 4
