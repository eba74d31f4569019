"""Train a ResNet on 32x32 images with DistributedDataParallel, and choose how gradients travel.

Each line that byteps_gc needs is marked. Start it with two workers on this machine:

    torchrun --nproc-per-node 2 train_cifar_ddp.py --hook onebit
    python -m byteps_gc launch --workers 2 -- python train_cifar_ddp.py --hook onebit
"""

from pathlib import Path

from byteps_gc.data import images
from byteps_gc.errors import UserError
import byteps_gc.torch as bps  # byteps_gc, line 1 of 3
import hooks
import progress
import torch
from torch import nn
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset, TensorDataset
from torch.utils.data.distributed import DistributedSampler


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet18(classes, width):
    """Return ResNet-18 with a first convolution of 3x3 instead of 7x7, for small images."""
    layers, inputs = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
    layers.append(nn.MaxPool2d(3, 2, 1))
    for stage in range(4):
        outputs = width * 2**stage
        layers += [Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def parse_args():
    parser = progress.parser(__doc__.split("\n")[0], steps=1000, eval_every=50, batch_size=32, lr=0.05)
    parser.add_argument("--dataset", default="fashion-mnist", choices=[*images.DATASETS], help="images")
    parser.add_argument("--data-dir", type=Path, help="folder of the images; default: where the data set is installed")
    parser.add_argument("--train-samples", type=int, help="number of training images; default: all")
    parser.add_argument("--val-samples", type=int, default=2000, help="number of validation images")
    parser.add_argument("--width", type=int, default=64, help="channels of the first convolution")
    parser.add_argument("--momentum", type=float, default=0.9, help="momentum of SGD")
    parser.add_argument("--wd", type=float, default=1e-4, help="weight decay")
    return progress.parse(parser)


def load(opt, train):
    """Return images, (n, 3, 32, 32) as bytes, and labels of the training or validation part."""
    pixels, labels = images.load(opt.dataset, opt.data_dir, train, opt.train_samples if train else opt.val_samples)
    return TensorDataset(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels).long())


def normalized(pixels, dataset):
    """Return images as floats around 0."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (dataset.mean, dataset.std))
    return (pixels.float() / 255 - mean) / std


def augmented(pixels):
    """Return randomly flipped images, shifted by up to 4 pixels, the same shift for all of a batch."""
    pixels = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels, pixels.flip(3))
    top, left = torch.randint(0, 9, (2,)).tolist()
    return F.pad(pixels, (4, 4, 4, 4))[:, :, top : top + 32, left : left + 32]


def batches(loader, sampler):
    """Yield batches without end, in another order in each epoch."""
    epoch = 0
    while True:
        sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def evaluate(model, loader, dataset):
    """Return loss and accuracy over all workers' validation images."""
    model.eval()
    loss = right = count = 0
    with torch.no_grad():
        for pixels, labels in loader:
            output = model.module(normalized(pixels, dataset))
            loss += F.cross_entropy(output, labels, reduction="sum").item()
            right += (output.argmax(1) == labels).sum().item()
            count += len(labels)
    model.train()
    return progress.mean(loss, right, count=count)


def main():
    opt = parse_args()
    train_set, val_set = load(opt, train=True), load(opt, train=False)
    if opt.check:
        return
    dist.init_process_group("gloo")
    rank, workers = dist.get_rank(), dist.get_world_size()
    if opt.compression is not None:
        bps.init()  # byteps_gc, line 2 of 3

    dataset = images.DATASETS[opt.dataset]
    torch.manual_seed(opt.seed)
    model = DistributedDataParallel(resnet18(dataset.classes, opt.width), **hooks.ddp_options(opt.hook))
    optimizer = torch.optim.SGD(
        model.parameters(), lr=opt.lr, momentum=opt.momentum, nesterov=opt.momentum > 0, weight_decay=opt.wd
    )
    scheduler = progress.schedule(optimizer, opt.steps)
    if opt.compression is not None:
        model.register_comm_hook(*bps.ddp_hook(model, optimizer, **opt.compression))  # byteps_gc, line 3 of 3
    else:
        hooks.register(model, opt.hook)

    sampler = DistributedSampler(train_set, workers, rank, seed=opt.seed, drop_last=True)
    train_data = DataLoader(train_set, opt.batch_size, sampler=sampler, drop_last=True)
    if len(train_data) == 0:
        raise UserError(f"{len(train_set)} training images are fewer than a batch of {opt.batch_size} for each worker")
    val_data = DataLoader(Subset(val_set, range(rank, len(val_set), workers)), 100)
    torch.manual_seed(opt.seed * workers + rank)  # each worker shifts and flips its own way
    about = dict(model="resnet18", dataset=opt.dataset, train_samples=len(train_set), val_samples=len(val_set))
    run = progress.Progress(opt, **about)
    for pixels, labels in batches(train_data, sampler):
        loss = F.cross_entropy(model(normalized(augmented(pixels), dataset)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if run.step(loss) and run.evaluated(*evaluate(model, val_data, dataset)):
            break
    dist.destroy_process_group()


if __name__ == "__main__":
    progress.run(main)
