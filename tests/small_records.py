"""Records of short runs, for tests of what is made from records."""

from byteps_gc.report import record

TOPK = {"compressor": "topk", "k": 0.001}


def write(file, compression, epochs=2, end=True, pace=10.5, gain=0.0, received=None, **start):
    """Write the record of a run; more keywords are values of its start event."""
    file.parent.mkdir(parents=True, exist_ok=True)
    recorder = record.Recorder(file)
    common = dict(model="net", dataset="images", workers=2, epochs=2, first_epoch=0, flags={"--seed": 0, "--lr": 0.1})
    recorder.write("start", compression=compression, **{**common, **start})
    for epoch in range(epochs):
        recorder.progress(epoch=epoch, batch=5, batches=10)
        recorder.write(
            "epoch", epoch=epoch, seconds=pace * (epoch + 1), accuracy=0.5 + epoch / 10 + gain, loss=1.0,
            samples_per_second=100.0, sent_mb_per_step=4.5, received_mb_per_step=received,
            compute_seconds=0.2, exchange_seconds=0.1 * (1 + epoch),
        )  # fmt: skip
    if end:
        recorder.write("end")
