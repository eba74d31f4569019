"""Train a byte-level GPT with DistributedDataParallel and AdamW, and choose how gradients travel.

The text is the source of Python's standard library, or the files of --text. Each line that byteps_gc needs is marked.
Start it with two workers on this machine:

    torchrun --nproc-per-node 2 train_gpt.py --hook onebit
    python -m byteps_gc launch --workers 2 -- python train_gpt.py --hook onebit
"""

from pathlib import Path
import sysconfig

from byteps_gc.errors import UserError
import byteps_gc.torch as bps  # byteps_gc, line 1 of 3
import hooks
import progress
import torch
from torch import nn
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

BYTES = 256
VALIDATION = 0.1  # part of the text that is not trained on: its end


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each behind a normalization."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.queries_keys_values(self.before_attention(x)).view(batch, length, 3, self.heads, -1)
        found = F.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4), is_causal=True)
        x = x + self.output(found.transpose(1, 2).reshape(batch, length, width))
        return x + self.feed(self.before_feed(x))


class GPT(nn.Module):
    """A decoder-only transformer, which predicts the next byte at each position."""

    def __init__(self, layers, width, heads, context):
        super().__init__()
        self.bytes, self.positions = nn.Embedding(BYTES, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.normalize, self.head = nn.LayerNorm(width), nn.Linear(width, BYTES, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        for block in self.blocks:  # what is added to the residual stream
            for layer in (block.output, block.feed[2]):
                nn.init.normal_(layer.weight, std=0.02 / (2 * layers) ** 0.5)

    def forward(self, x):
        x = self.bytes(x) + self.positions.weight[: x.shape[1]]
        return self.head(self.normalize(self.blocks(x)))


def parse_args():
    parser = progress.parser(__doc__.split("\n")[0], steps=1000, eval_every=50, batch_size=8, lr=1e-3)
    library = "default: the standard library of this Python"
    parser.add_argument("--text", type=Path, nargs="+", metavar="FILE", help=f"files to train on; {library}")
    parser.add_argument("--layers", type=int, default=6, help="number of layers")
    parser.add_argument("--width", type=int, default=384, help="width of the layers")
    parser.add_argument("--heads", type=int, default=6, help="attention heads of a layer")
    parser.add_argument("--context", type=int, default=128, help="bytes of a sample")
    parser.add_argument("--val-samples", type=int, default=200, help="number of validation samples")
    parser.add_argument("--wd", type=float, default=0.1, help="weight decay")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradients")
    opt = progress.parse(parser)
    for name in ("layers", "width", "heads", "context", "val_samples"):
        if getattr(opt, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(opt, name)} is not 1 or more")
    if opt.width % opt.heads:
        parser.error(f"--width {opt.width} is not a multiple of --heads {opt.heads}")
    return opt


def read(opt):
    """Return the text for training and that for validation, as bytes."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = opt.text or [file for part in ("*.py", "[a-z]*/*.py") for file in sorted(folder.glob(part))]
    files = [file for file in files if opt.text or file.parent.name != "site-packages"]
    try:
        text = b"".join(file.read_bytes() for file in files)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None
    text = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    end = len(text) - int(VALIDATION * len(text))
    if min(end, len(text) - end) <= opt.context:
        raise UserError(f"the text has {len(text)} bytes, which are too few for samples of {opt.context}")
    return text[:end], text[end:]


def samples(text, starts, context):
    """Return bytes (n, context) that begin at some positions, and the byte that follows each of them."""
    at = starts.view(-1, 1) + torch.arange(context + 1)
    found = text[at].long()
    return found[:, :-1], found[:, 1:]


def evaluate(model, text, opt):
    """Return the loss, in nats a byte, and the accuracy over all workers' samples, which are spread over the text."""
    starts = torch.linspace(0, len(text) - opt.context - 1, opt.val_samples).long()
    loss = right = count = 0
    with torch.no_grad():
        for part in starts[dist.get_rank() :: dist.get_world_size()].split(opt.batch_size):
            x, y = samples(text, part, opt.context)
            output = model.module(x).flatten(0, 1)
            loss += F.cross_entropy(output, y.flatten(), reduction="sum").item()
            right += (output.argmax(1) == y.flatten()).sum().item()
            count += y.numel()
    return progress.mean(loss, right, count=count)


def main():
    opt = parse_args()
    train_text, val_text = read(opt)
    if opt.check:
        return
    dist.init_process_group("gloo")
    if opt.compression is not None:
        bps.init()  # byteps_gc, line 2 of 3

    torch.manual_seed(opt.seed)
    model = DistributedDataParallel(GPT(opt.layers, opt.width, opt.heads, opt.context), **hooks.ddp_options(opt.hook))
    optimizer = torch.optim.AdamW(model.parameters(), lr=opt.lr, betas=(0.9, 0.95), weight_decay=opt.wd)
    scheduler = progress.schedule(optimizer, opt.steps)
    if opt.compression is not None:
        model.register_comm_hook(*bps.ddp_hook(model, optimizer, **opt.compression))  # byteps_gc, line 3 of 3
    else:
        hooks.register(model, opt.hook)

    size = sum(parameter.numel() for parameter in model.parameters())
    about = dict(model=f"GPT of {size / 1e6:.1f} M parameters", dataset="source of Python" if not opt.text else "text")
    run = progress.Progress(opt, train_samples=len(train_text), val_samples=opt.val_samples, **about)
    order = torch.Generator().manual_seed(opt.seed * dist.get_world_size() + dist.get_rank())  # each worker's own
    while True:
        starts = torch.randint(len(train_text) - opt.context, (opt.batch_size,), generator=order)
        x, y = samples(train_text, starts, opt.context)
        loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), opt.clip)
        optimizer.step()
        scheduler.step()
        if run.step(loss) and run.evaluated(*evaluate(model, val_text, opt)):
            break
    dist.destroy_process_group()


if __name__ == "__main__":
    progress.run(main)
