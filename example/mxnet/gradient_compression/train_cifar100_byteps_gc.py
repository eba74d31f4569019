"""Train a classifier of GluonCV's model zoo on 32x32 images, with BytePS and gradient compression.

This is the guide's experiment: GluonCV's CIFAR script with BytePS's trainer, the compression flags, a choice of data
sets, exact resuming and a record of the run. train_minimal.py shows the API alone.
"""

import logging
from pathlib import Path

from byteps_gc.data import images
from byteps_gc.errors import UserError
from byteps_gc.training import flags


def parse_args():
    parser = flags.Parser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet18_v2", help="a classifier of GluonCV's model zoo")
    flags.add_training(parser, epochs=200, decay_epochs="100,150", log="train_cifar100.log", save="--save-period")
    parser.add_argument("--drop-rate", type=float, default=0.0, help="dropout rate, for wide resnets")
    parser.add_argument("--dataset", default="cifar100", choices=list(images.DATASETS), help="images")
    parser.add_argument("--data-dir", type=Path, help="folder of the data set")
    parser.add_argument("--train-samples", type=int, metavar="N", help="use only the first N training images")
    parser.add_argument("--val-samples", type=int, metavar="N", help="use only the first N validation images")
    return flags.parse(parser, check)


def check(parser, opt):
    flags.check(parser, opt)
    opt.train_set = images.load(opt.dataset, opt.data_dir, True, opt.train_samples)
    opt.val_set = images.load(opt.dataset, opt.data_dir, False, opt.val_samples)


def main(opt):
    # imported once the flags have been checked, so that a mistake is reported at once
    from byteps_gc.data.loader import InMemory, Loader
    from byteps_gc.data.sharding import ShardedSampler, validation_part
    import byteps_gc.mxnet as bps
    from byteps_gc.training import session
    from byteps_gc.training.run import Run
    from byteps_gc.training.validation import accuracy
    import gluoncv
    import mxnet as mx
    from mxnet import autograd, gluon

    bps.init()
    context = session.start(opt)

    dataset = images.DATASETS[opt.dataset]
    options = {"drop_rate": opt.drop_rate} if opt.drop_rate else {}
    try:
        net = gluoncv.model_zoo.get_model(opt.model, classes=dataset.classes, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"--model {opt.model}: {str(error).strip().splitlines()[0]}") from None
    net.initialize(mx.init.Xavier(), ctx=context)

    train_samples, val_samples = len(opt.train_set[0]), len(opt.val_set[0])
    sampler = ShardedSampler(train_samples, opt.batch_size, bps.rank(), bps.size(), opt.seed)
    train_data = Loader(InMemory(opt.train_set, dataset), sampler, opt.batch_size, opt.num_workers)
    part = validation_part(val_samples, bps.rank(), bps.size())
    val_data = Loader(InMemory(opt.val_set, dataset), part, opt.batch_size, opt.num_workers)

    trainer = bps.DistributedTrainer(
        net.collect_params(),
        "sgd" if opt.compression.compressor else "nag",
        {"lr_scheduler": session.learning_rates(opt, sampler.batches), "momentum": opt.momentum, "wd": opt.wd},
        compression_params=opt.compression,
    )
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()

    run = Run(opt, net, trainer, sampler, context)
    run.begin(opt.dataset, train_samples, val_samples)
    if opt.mode != "imperative":
        net.hybridize()
    for _ in run.epochs():
        for data, label in run.batches(train_data):
            data, label = mx.nd.array(data, ctx=context), mx.nd.array(label, ctx=context)
            with autograd.record():
                output = net(data)
                loss = loss_function(output, label)
            loss.backward()
            with run.exchange():
                trainer.step(opt.batch_size)
            run.count(loss.sum(), (output.argmax(axis=1) == label).sum())
        run.finish_epoch(*accuracy(lambda data: net(mx.nd.array(data, ctx=context)), val_data))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_args()
    if not options.check:
        main(options)
