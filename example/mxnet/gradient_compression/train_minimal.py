"""Train a CIFAR net of GluonCV's model zoo on several workers, with and without gradient compression.

This is GluonCV's CIFAR training loop. Four lines make it distributed; each is marked. Run it with two workers on this
machine, first without compression, then with it:

    python -m byteps_gc launch -- python train_minimal.py
    python -m byteps_gc launch -- python train_minimal.py --compress
"""

import argparse
import time

from byteps_gc.data import images
import byteps_gc.mxnet as bps  # byteps_gc, line 1 of 4: import it before mxnet
import gluoncv
from gluoncv.data import transforms as gcv_transforms
import mxnet as mx
from mxnet import autograd, gluon
from mxnet.gluon.data.vision import transforms

ONEBIT = {"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"}
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
AUGMENT = [gcv_transforms.RandomCrop(32, pad=4), transforms.RandomFlipLeftRight()]
NORMALIZE = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]


def parse_args():
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=formatter)
    parser.add_argument("--compress", action="store_true", help=f"compress gradients: {ONEBIT}")
    parser.add_argument("--model", default="cifar_resnet20_v1", help="a CIFAR net of GluonCV")
    parser.add_argument("--dataset", default="fashion-mnist", choices=["fashion-mnist", "cifar10"], help="images")
    parser.add_argument("--samples", type=int, default=5120, help="number of training images")
    parser.add_argument("--num-epochs", type=int, default=3, help="number of epochs")
    parser.add_argument("--batch-size", type=int, default=32, help="images per worker and step")
    parser.add_argument("--lr", type=float, default=0.02, help="learning rate")
    parser.add_argument("-j", dest="num_workers", type=int, default=2, help="DataLoader processes")
    return parser.parse_args()


def dataset(name, train, samples):
    """Return the first 32x32 colour images with labels of CIFAR10, which MXNet downloads, or Debian's Fashion-MNIST."""
    if name == "cifar10":
        return gluon.data.vision.CIFAR10(train=train).take(samples)
    pixels, labels = images.load(name, None, train, samples)
    return gluon.data.ArrayDataset(mx.nd.array(pixels, dtype="uint8"), labels)


def test(net, val_data, context):
    metric = mx.metric.Accuracy()
    for data, label in val_data:
        metric.update([label], [net(data.as_in_context(context))])
    return metric.get()[1]


def main(opt):
    bps.init()  # byteps_gc, line 2 of 4: join the cluster
    context = mx.cpu()  # on a GPU: mx.gpu(bps.local_rank())
    net = gluoncv.model_zoo.get_model(opt.model, classes=10)
    net.initialize(mx.init.Xavier(), ctx=context)
    net.hybridize()

    train_set = dataset(opt.dataset, True, opt.samples)
    train_set = train_set.shard(bps.size(), bps.rank())  # byteps_gc, line 3 of 4: this worker's part of the images
    train_data = gluon.data.DataLoader(
        train_set.transform_first(transforms.Compose(AUGMENT + NORMALIZE)),
        batch_size=opt.batch_size,
        shuffle=True,
        last_batch="discard",
        num_workers=opt.num_workers,
    )
    val_data = gluon.data.DataLoader(
        dataset(opt.dataset, False, min(opt.samples, 2000)).transform_first(transforms.Compose(NORMALIZE)),
        batch_size=opt.batch_size,
        num_workers=opt.num_workers,
    )

    optimizer_params = {"learning_rate": opt.lr, "momentum": 0.9, "wd": 1e-4}
    compression = ONEBIT if opt.compress else None
    # byteps_gc, line 4 of 4: instead of gluon.Trainer(net.collect_params(), "nag", optimizer_params)
    trainer = bps.DistributedTrainer(net.collect_params(), "nag", optimizer_params, compression_params=compression)
    loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()
    metric = mx.metric.Accuracy()
    for epoch in range(opt.num_epochs):
        tic = time.time()
        metric.reset()
        for data, label in train_data:
            data, label = data.as_in_context(context), label.as_in_context(context)
            with autograd.record():
                output = net(data)
                loss = loss_fn(output, label)
            loss.backward()
            trainer.step(opt.batch_size)
            metric.update([label], [output])
        seconds, accuracy = time.time() - tic, metric.get()[1]
        print(
            f"[Epoch {epoch}] train={accuracy:.4f} val={test(net, val_data, context):.4f} time={seconds:.1f}s",
            flush=True,
        )


if __name__ == "__main__":
    main(parse_args())
