"""Train a classifier of GluonCV's model zoo on 32x32 images, with BytePS and gradient compression.

GluonCV's CIFAR script with a BytePS trainer: what is not in GluonCV's are the
lines with ``bps.``, the compression flags and the choice of data set.
"""

import argparse
import logging
from pathlib import Path
import time

from byteps_gc import arguments, checkpoint, env
from byteps_gc.data import images
from byteps_gc.errors import UserError
from byteps_gc.report.record import Recorder


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet18_v2", help="a classifier of GluonCV's model zoo")
    parser.add_argument("--mode", default="hybrid", choices=["imperative", "hybrid", "hybrib"], help="default: hybrid")
    parser.add_argument("--batch-size", type=int, default=32, help="images per worker and step")
    parser.add_argument("--num-gpus", type=int, default=0, help="1: this process's GPU, if MXNet sees one")
    parser.add_argument("--num-epochs", type=int, default=200)
    parser.add_argument("-j", "--num-data-workers", dest="num_workers", type=int, default=2, help="loader threads")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate per host")
    parser.add_argument("--lr-decay", type=float, default=0.1)
    parser.add_argument("--lr-decay-epoch", default="100,150", help="epochs at which the rate decays")
    parser.add_argument("--lr-decay-period", type=int, default=0, help="decay every so many epochs instead")
    parser.add_argument("--warmup-epochs", type=int, default=0)
    parser.add_argument("--warmup-lr", type=float, default=0.0, help="rate at which the warm-up starts")
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--wd", type=float, default=0.0001)
    parser.add_argument("--drop-rate", type=float, default=0.0, help="dropout of models that have it (wide resnets)")
    parser.add_argument("--save-period", type=int, default=10, help="epochs between checkpoints; 0: none")
    parser.add_argument("--save-dir", default="params", help="folder of the checkpoints")
    parser.add_argument("--resume-from", help="a checkpoint (best.params, epoch-10.params, ...)")
    parser.add_argument("--logging-file", default="train_cifar100.log", help="its .jsonl neighbour is the record")
    parser.add_argument("--dataset", default="cifar100", choices=list(images.DATASETS))
    parser.add_argument("--data-dir", type=Path, help="where the data set lies")
    parser.add_argument("--train-samples", type=int, help="use only the first so many training images")
    parser.add_argument("--val-samples", type=int, help="use only the first so many validation images")
    parser.add_argument("--check", action="store_true", help="check the flags and the data set, and stop")
    arguments.add_compression(parser)
    opt = parser.parse_args()
    for name in ("batch_size", "num_epochs"):
        if getattr(opt, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(opt, name)} is less than 1")
    if opt.num_gpus > 1:
        parser.error(f"--num-gpus {opt.num_gpus}: a process drives one GPU; bpslaunch starts one process for each")
    for name in ("lr", "momentum", "wd", "warmup_lr", "warmup_epochs", "num_workers", "save_period"):
        if not getattr(opt, name) >= 0:
            parser.error(f"--{name.replace('_', '-')} {getattr(opt, name)} is less than 0")
    try:
        opt.decay_epochs = sorted(int(epoch) for epoch in opt.lr_decay_epoch.split(",") if epoch)
    except ValueError:
        parser.error(f"--lr-decay-epoch {opt.lr_decay_epoch} is not a list of epochs such as 100,150")
    if opt.lr_decay_period > 0:
        opt.decay_epochs = list(range(opt.lr_decay_period, opt.num_epochs, opt.lr_decay_period))
    try:
        opt.compression = arguments.compression(opt)
        if opt.resume_from and env.integer("DMLC_WORKER_ID", 0) == 0:  # the others get it from rank 0
            checkpoint.check(opt.resume_from)
        opt.train_set = images.load(opt.dataset, opt.data_dir, True, opt.train_samples)
        opt.val_set = images.load(opt.dataset, opt.data_dir, False, opt.val_samples)
    except UserError as error:
        parser.error(str(error))
    if opt.mode == "hybrib":
        logging.warning("--mode hybrib: taken for hybrid")
    return opt


def main(opt):
    # imported when the flags have been read, so that a mistake is answered at once
    from byteps_gc import exchange
    from byteps_gc.data.loader import Loader
    from byteps_gc.data.sharding import ShardedSampler, validation_part
    import byteps_gc.mxnet as bps
    import gluoncv
    import mxnet as mx
    from mxnet import autograd, gluon

    bps.init()
    rank, workers = bps.rank(), bps.size()
    logging.getLogger().setLevel(logging.INFO if rank == 0 else logging.WARNING)
    if rank == 0:
        Path(opt.logging_file).parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger().addHandler(logging.FileHandler(opt.logging_file))
    recorder = Recorder(Path(f"{opt.logging_file}.jsonl") if rank == 0 else None)

    context = mx.cpu()
    if opt.num_gpus > 0 and mx.context.num_gpus() > bps.local_rank():
        context = mx.gpu(bps.local_rank())
    elif opt.num_gpus > 0:
        logging.warning("--num-gpus %d, but MXNet sees no GPU for this process: training on the CPU", opt.num_gpus)
    mx.random.seed(opt.seed)
    dataset = images.DATASETS[opt.dataset]
    options = {"drop_rate": opt.drop_rate} if opt.drop_rate else {}
    try:
        net = gluoncv.model_zoo.get_model(opt.model, classes=dataset.classes, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"--model {opt.model}: {str(error).strip().splitlines()[0]}") from None
    net.initialize(mx.init.Xavier(), ctx=context)

    sampler = ShardedSampler(len(opt.train_set[0]), opt.batch_size, rank, workers, opt.seed)
    train_data = Loader(opt.train_set, dataset, sampler, opt.batch_size, opt.num_workers)
    part = validation_part(len(opt.val_set[0]), rank, workers)
    val_data = Loader(opt.val_set, dataset, part, opt.batch_size, opt.num_workers)

    rate = opt.lr * workers / bps.local_size()
    schedule = make_schedule(opt, rate, sampler.batches)
    optimizer_params = {"wd": opt.wd, "momentum": opt.momentum, "lr_scheduler": schedule}
    trainer = bps.DistributedTrainer(
        net.collect_params(),
        "sgd" if opt.compression.compressor else "nag",
        optimizer_params,
        compression_params=opt.compression,
    )
    progress = {"epoch": -1, "best": 0.0}
    if opt.resume_from:
        progress = checkpoint.resume(opt.resume_from, net, trainer, context)
    if opt.mode != "imperative":
        net.hybridize()
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()

    def validate():
        right = seen = 0
        for data, label in val_data:
            guess = net(mx.nd.array(data, ctx=context)).argmax(axis=1).asnumpy()
            right += int((guess == label).sum())
            seen += len(label)
        right, seen = exchange.total([right, seen], "validation")
        return right / seen

    first = progress["epoch"] + 1
    logging.info(
        "%s on %s: %d workers, %d steps an epoch, effective learning rate %g (%g x %d hosts), compression %s",
        opt.model, opt.dataset, workers, sampler.batches, rate, opt.lr, workers // bps.local_size(),
        opt.compression.to_params() or "none",
    )  # fmt: skip
    recorder.write(
        "start", model=opt.model, dataset=opt.dataset, workers=workers, epochs=opt.num_epochs, first_epoch=first,
        batches=sampler.batches, batch_size=opt.batch_size, learning_rate=rate,
        compression=opt.compression.to_params(), train_samples=len(opt.train_set[0]), val_samples=len(opt.val_set[0]),
    )  # fmt: skip
    started = time.time()
    for epoch in range(first, opt.num_epochs):
        tic = time.time()
        sampler.epoch = epoch
        train_data.seed = (opt.seed * 1000003 + epoch) * workers + rank
        right, losses = mx.nd.zeros(1, ctx=context), mx.nd.zeros(1, ctx=context)
        for batch, (data, label) in enumerate(train_data):
            data, label = mx.nd.array(data, ctx=context), mx.nd.array(label, ctx=context)
            with autograd.record():
                output = net(data)
                loss = loss_function(output, label)
            loss.backward()
            trainer.step(opt.batch_size)
            losses += loss.sum()
            right += (output.argmax(axis=1) == label).sum()
            losses.wait_to_read()
            if batch == 0:  # the very first step broadcasts the parameters as well
                mx.nd.waitall()
                sent = bps.sent_bytes()
            recorder.progress(epoch=epoch, batch=batch + 1, batches=sampler.batches)
        mx.nd.waitall()
        seconds = time.time() - tic
        sent = (bps.sent_bytes() - sent) / max(1, sampler.batches - 1) / 1e6
        right, losses = exchange.total([float(right.asscalar()), float(losses.asscalar())], "training")
        samples = len(sampler) * workers
        accuracy = validate()
        logging.info(
            "[Epoch %d] train=%.4f val=%.4f loss=%.4f lr=%.5g time=%.1fs speed=%.1f samples/s sent=%.3f MB/step",
            epoch, right / samples, accuracy, losses / samples, trainer.learning_rate, seconds, samples / seconds, sent,
        )  # fmt: skip
        recorder.write(
            "epoch", epoch=epoch, seconds=time.time() - started, accuracy=accuracy, train_accuracy=right / samples,
            loss=losses / samples, learning_rate=trainer.learning_rate, samples_per_second=samples / seconds,
            sent_mb_per_step=sent,
        )  # fmt: skip
        better = accuracy > progress["best"]
        progress = {"epoch": epoch, "best": max(accuracy, progress["best"])}
        if rank == 0 and better:
            checkpoint.save(Path(opt.save_dir, "best"), net, trainer, progress)
        if rank == 0 and opt.save_period and (epoch + 1) % opt.save_period == 0:
            checkpoint.save(Path(opt.save_dir, f"epoch-{epoch + 1}"), net, trainer, progress)
    recorder.write("end")


def make_schedule(opt, rate, batches):
    """A linear warm-up to ``rate``, then a decay by --lr-decay at the given epochs of the whole run."""
    from gluoncv.utils import LRScheduler, LRSequential

    warmup = min(opt.warmup_epochs, opt.num_epochs)
    parts = []
    if warmup * batches > 1:
        parts.append(
            LRScheduler("linear", base_lr=opt.warmup_lr, target_lr=rate, nepochs=warmup, iters_per_epoch=batches)
        )
    if opt.num_epochs > warmup:
        decays = [epoch - warmup for epoch in opt.decay_epochs if warmup < epoch < opt.num_epochs]
        parts.append(
            LRScheduler(
                "step",
                base_lr=rate,
                nepochs=opt.num_epochs - warmup,
                iters_per_epoch=batches,
                step_epoch=decays,
                step_factor=opt.lr_decay,
            )
        )
    return LRSequential(parts)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_args()
    if not options.check:
        main(options)
