"""Show what gradient compression gains: train the same net without and with it across a slow simulated network.

Sets up the project (about two minutes the first time), then trains a ResNet on real images, with Gluon or with
PyTorch's DistributedDataParallel, between two hosts that are network namespaces of this machine with a limited
bandwidth. Root, an unprivileged user namespace or sudo without a password is needed for that; without any of them, the
demo trains on loopback and says so.
"""

import argparse
from dataclasses import dataclass
import os
from pathlib import Path
import sys
import time

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
sys.path.insert(0, str(ROOT))

from byteps_gc.arguments import Parser, split  # noqa: E402
from byteps_gc.cluster.commands import add_job  # noqa: E402
from byteps_gc.cluster.experiment import TORCHRUN, Experiment  # noqa: E402
from byteps_gc.cluster.namespaces import NamespaceHosts, bits_per_second  # noqa: E402
from byteps_gc.errors import SettingsError, UserError  # noqa: E402

EXAMPLES = ROOT / "example"
UNLIMITED = "unlimited"
WORTH_SAYING = 0.005  # of accuracy, that a job lost
MIN_COMPRESS_BYTES = "65536"  # the recommended threshold; the guide's is 1024000


@dataclass(frozen=True)
class Framework:
    """What the demo trains with: an environment, an experiment of ``example``, its jobs and flags, and the links."""

    folder: str
    experiment: str
    jobs: str
    flags: str
    rate: str

    @property
    def venv(self):
        """The environment, which setup.sh makes."""
        return Path(os.environ.get("BYTEPS_GC_VENV") or ROOT / self.folder).absolute()


FRAMEWORKS = {
    "mxnet": Framework(
        ".venv",
        "mxnet/gradient_compression/cifar100.ini",
        "baseline onebit",
        "--dataset fashion-mnist --train-samples 2304 --val-samples 1000 --num-epochs 2 --warmup-epochs 0 --lr 0.02",
        "200mbit",
    ),
    "torch": Framework(
        ".venv-torch",
        "pytorch/cifar.ini",
        "none onebit",
        "--width 48 --batch-size 16 --steps 60 --eval-every 10 --val-samples 1000 --target-accuracy 0.4",
        "100mbit",
    ),
}


def parse(words):
    """Return the options and the experiment; a mistake raises UserError or ends the process."""
    words, extra = split(words)
    parser = Parser(
        prog="demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='demo.sh [--framework NAME] [--rate RATE] [--hosts N] [--job NAME="FLAGS"] ["JOBS"] [-- TRAINING FLAGS]',
        epilog="\n".join(f"Default training flags with {name}: {one.flags}" for name, one in FRAMEWORKS.items()),
    )
    framework = "mxnet: Gluon (default); torch: PyTorch's DistributedDataParallel with the hook of byteps_gc"
    parser.add_argument("--framework", default="mxnet", choices=[*FRAMEWORKS], help=framework)
    rates = " or ".join(f"{one.rate} with {name}" for name, one in FRAMEWORKS.items())
    rate = f"bandwidth of each simulated host's link (default: {rates}); {UNLIMITED}: train on loopback"
    parser.add_argument("--rate", help=rate)
    parser.add_argument("--hosts", type=int, metavar="N", help="number of simulated hosts (default: 2)")
    add_job(parser)
    default = " or ".join(f'"{one.jobs}" with {name}' for name, one in FRAMEWORKS.items())
    jobs = f'jobs of the experiment, such as "baseline onebit topk" (default: {default})'
    parser.add_argument("jobs", nargs="*", metavar="JOBS", help=jobs)
    options = parser.parse_args(words)
    framework = options.framework = FRAMEWORKS[options.framework]
    options.rate = options.rate or framework.rate
    options.flags = [*framework.flags.split(), *extra]
    experiment = Experiment.read(EXAMPLES / framework.experiment, options.job)
    options.jobs = experiment.select(options.jobs or [framework.jobs])
    if options.rate == UNLIMITED and options.hosts is not None:
        raise SettingsError(f"--hosts cannot be combined with --rate {UNLIMITED}, which trains on loopback")
    options.hosts = 2 if options.hosts is None else options.hosts
    if options.rate != UNLIMITED:
        NamespaceHosts(options.hosts, options.rate)  # checks both
    return options, experiment


def set_up(framework, words):
    """Become this script in the framework's environment, once that is set up."""
    packages = ["dataset-fashion-mnist", *(["iproute2"] if os.geteuid() == 0 else [])]
    wanted = [word for name in packages for word in ("--with", name)]
    setup = str(SCRIPTS / "setup.sh")
    kind = ["--torch"] if framework is FRAMEWORKS["torch"] else []
    os.execv(setup, [setup, *kind, *wanted, "--", "python", str(Path(__file__).resolve()), *words])


def enter(words):
    """Become this script with the right to simulate hosts, or return the reason why that is impossible."""
    from byteps_gc.cluster import privileges

    try:
        privileges.enter([sys.executable, str(Path(__file__).resolve()), *words])
    except SettingsError as error:
        return str(error)
    return ""


def train_on_loopback(options, experiment):
    """Run the jobs with two workers on this machine; return the exit status."""
    if experiment.launcher != TORCHRUN:
        jobs = [" ".join(options.jobs), *experiment.definitions()]
        return finish([str(experiment.folder / "run.sh"), *jobs, "--", *options.flags])
    from byteps_gc.cluster.run import conclude
    from byteps_gc.cluster.run_folder import RunFolder

    run = RunFolder.create(experiment.name)
    for job in options.jobs:
        folder = run.job(job)
        folder.path.mkdir(parents=True, exist_ok=True)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        status = finish([*torchrun, *experiment.worker_command(folder, options.flags)[1:]])
        if status:
            return status
    conclude(run.path)
    return 0


def finish(command):
    """Run a command to its end; return its exit status."""
    from byteps_gc.processes import popen

    child = popen(command)
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise


def train(options, experiment, words):
    """Run the jobs in BYTEPS_GC_RUN_DIR; return the exit status and how the hosts were connected."""
    from byteps_gc.cluster import simulated_cluster

    reason = "" if options.rate == UNLIMITED else enter(words)
    if reason:
        print(f"demo: training on loopback, because this user cannot simulate a network ({reason});", end=" ")
        print("sudo ./scripts/demo.sh can", flush=True)
    if reason or options.rate == UNLIMITED:
        return train_on_loopback(options, experiment), "on loopback, without a bandwidth limit"
    network = f"{options.hosts} hosts with links of {bits_per_second(options.rate) / 1e6:g} Mbit/s"
    print(f"demo: simulating {network}", flush=True)
    simulated_cluster.run(experiment, options.hosts, options.rate, options.jobs, options.flags)
    return 0, f"between {network}"


def summary(rows, network):
    """Return what was seen, a sentence for each job. Times are those for the same number of epochs."""
    base = next((row for row in rows if row.runs[0].start["compression"] == {}), None)
    for row in rows:
        name = row.name.replace("dist-EF-SGDM", "onebit")  # the job's name, not the paper's
        text = f"{name} reached {row.accuracy.mean:.1%} validation accuracy in {row.seconds.mean:.0f} s"
        if row is base or not base or not row.speedup:
            sent = f", sending {row.sent:.{1 if row is base else 2}f} MB a step" if row.sent else ""
            yield f"{text}{sent} {network}."
        else:
            sent = f", sending {compared(base.sent / row.sent, 'less', 'more')}" if row.sent and base.sent else ""
            lost = -row.difference.mean if row.difference else 0.0
            below = f", {100 * lost:.1f} points below the baseline" if lost >= WORTH_SAYING else ""
            yield f"{text}{below}: {compared(row.speedup.mean, 'faster', 'slower')} than the baseline{sent}."


def compared(ratio, more, less):
    """Return a ratio in words, such as "6.4 times faster"."""
    factor = ratio if ratio >= 1 else 1 / ratio
    return f"{factor:.{0 if factor >= 10 else 1}f} times {more if ratio >= 1 else less}"


def main(words):
    """Run the demo; return the exit status."""
    options, experiment = parse(words)
    if Path(sys.prefix) != options.framework.venv:
        set_up(options.framework, words)
    from byteps_gc.processes import exit_on_sigterm
    from byteps_gc.report import rows

    exit_on_sigterm()
    os.environ.setdefault("BYTEPS_MIN_COMPRESS_BYTES", MIN_COMPRESS_BYTES)
    folder = Path(os.environ.get("BYTEPS_GC_RUN_DIR") or f"runs/demo-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    os.environ["BYTEPS_GC_RUN_DIR"] = str(folder)
    status, network = train(options, experiment, words)
    if status:
        return status
    print()
    for line in summary(rows.group(rows.find([folder])), network):
        print(line)
    plots = (folder / f"{name}.png" for name in ("accuracy_over_time", "step_time"))
    print("plots:", ", ".join(str(plot) for plot in plots if plot.exists()))
    print(f"report: {folder}/report.html")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(getattr(error, "status", 2))
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        sys.exit(130)
