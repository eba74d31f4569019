"""Train a classifier of GluonCV's model zoo on 32x32 images, with BytePS and gradient compression.

GluonCV's CIFAR script with a BytePS trainer: what is not in GluonCV's are the
session with its trainer, the compression flags and the choice of data set.
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
    parser.add_argument("--drop-rate", type=float, default=0.0, help="dropout of models that have it (wide resnets)")
    parser.add_argument("--dataset", default="cifar100", choices=list(images.DATASETS))
    parser.add_argument("--data-dir", type=Path, help="where the data set lies")
    parser.add_argument("--train-samples", type=int, help="use only the first so many training images")
    parser.add_argument("--val-samples", type=int, help="use only the first so many validation images")
    return flags.parse(parser, check)


def check(parser, opt):
    flags.check(parser, opt)
    opt.train_set = images.load(opt.dataset, opt.data_dir, True, opt.train_samples)
    opt.val_set = images.load(opt.dataset, opt.data_dir, False, opt.val_samples)


def main(opt):
    # imported when the flags have been read, so that a mistake is answered at once
    from byteps_gc.data.loader import InMemory, Loader
    from byteps_gc.data.sharding import ShardedSampler, validation_part
    from byteps_gc.training.loop import Loop
    from byteps_gc.training.session import Session
    from byteps_gc.training.validation import accuracy
    import gluoncv
    import mxnet as mx
    from mxnet import autograd, gluon

    session = Session(opt)
    rank, workers, context = session.rank, session.workers, session.context
    dataset = images.DATASETS[opt.dataset]
    options = {"drop_rate": opt.drop_rate} if opt.drop_rate else {}
    try:
        net = gluoncv.model_zoo.get_model(opt.model, classes=dataset.classes, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"--model {opt.model}: {str(error).strip().splitlines()[0]}") from None
    net.initialize(mx.init.Xavier(), ctx=context)

    train_samples, val_samples = len(opt.train_set[0]), len(opt.val_set[0])
    sampler = ShardedSampler(train_samples, opt.batch_size, rank, workers, opt.seed)
    train_data = Loader(InMemory(opt.train_set, dataset), sampler, opt.batch_size, opt.num_workers)
    part = validation_part(val_samples, rank, workers)
    val_data = Loader(InMemory(opt.val_set, dataset), part, opt.batch_size, opt.num_workers)

    trainer = session.trainer(net, sampler.batches)
    progress = session.resume(net, trainer)
    if opt.mode != "imperative":
        net.hybridize()
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()

    def step(data, label):
        data, label = mx.nd.array(data, ctx=context), mx.nd.array(label, ctx=context)
        with autograd.record():
            output = net(data)
            loss = loss_function(output, label)
        loss.backward()
        return loss.sum(), (output.argmax(axis=1) == label).sum()

    def validate():
        return accuracy(lambda data: net(mx.nd.array(data, ctx=context)), val_data)[0], {}

    session.announce(opt.dataset, sampler.batches, progress["epoch"] + 1, train_samples, val_samples)
    Loop(session, net, trainer, sampler, train_data, step, validate).run(progress)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_args()
    if not options.check:
        main(options)
