"""A worker that trains, or saves its state and ends, or continues: torch_resume.py whole|first|second.

Prints "FOUND PART KIND DIGEST", of the final weights, for the communication hook and for DistributedOptimizer.
"""

import hashlib
import sys
import warnings

import byteps_gc.torch as bps
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

STEPS = 8
PARAMS = {"hook": {"compressor": "randomk", "k": 0.1}, "optimizer": {"compressor": "topk", "k": 0.02}}


def main(part, kind):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(50, 60), torch.nn.ReLU(), torch.nn.Linear(60, 60))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    params, net, state = {**PARAMS[kind], "ef": "vanilla"}, model, None
    if kind == "hook":
        net = DistributedDataParallel(model)
        state, hook = bps.ddp_hook(net, optimizer, **params)
        net.register_comm_hook(state, hook)
    else:
        optimizer = bps.DistributedOptimizer(optimizer, model.named_parameters(), params)
    file = f"state-{kind}-{bps.rank()}.pt"
    if part == "second":
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if state:
            state.load_state_dict(saved["hook"])
    for step in {"whole": range(STEPS), "first": range(STEPS // 2), "second": range(STEPS // 2, STEPS)}[part]:
        generator = torch.Generator().manual_seed(10 * step + bps.rank())
        optimizer.param_groups[0]["lr"] = 0.05 / (1 + step)
        optimizer.zero_grad()
        x = torch.randn(4, 50, generator=generator)
        if step == STEPS // 2 - 1 and bps.rank():
            x[0, 0] = float("inf")  # the last step before the state is saved is skipped
        net(x).square().mean().backward()
        optimizer.step()
    if part == "first":
        hook_state = state.state_dict() if state else None
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "hook": hook_state}
        torch.save(saved, file)
    found = b"".join(one.detach().numpy().tobytes() for one in model.parameters())
    print("FOUND", part, kind, hashlib.sha256(found).hexdigest()[:16], flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    bps.init()
    for kind in PARAMS:
        main(sys.argv[1], kind)
    dist.destroy_process_group()
