"""Run a PyTorch experiment's jobs on simulated hosts: torchrun on each of them, with one worker."""

import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Dict, List, Sequence

from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.namespaces import LINK, NamespaceHosts
from byteps_gc.cluster.roles import omp_threads
from byteps_gc.cluster.run_folder import JobFolder, RunFolder
from byteps_gc.errors import ClusterError
from byteps_gc.processes import last_line, stop, wait_until
from byteps_gc.report.progress import Progress

PORT = 29500  # of torch's rendezvous, in a network that nobody else is in
GRACE = 5.0  # seconds in which the other hosts must end after one has failed


def run(
    hosts: NamespaceHosts,
    experiment: Experiment,
    jobs: Sequence[str],
    extra: Sequence[str],
    out: Path,
    variables: Dict[str, str],
) -> None:
    """Run the jobs one after another; each host's files are below ``out``/HOST, the record below that of the first.

    extra: flags for the training script; variables: more environment variables of the workers.
    Raises :class:`ClusterError` for the first job that fails, with the last line of a host that failed.
    """
    with Progress() as progress:
        for job in jobs:
            progress.job(job)
            run_job(hosts, experiment, RunFolder(out / hosts[0].name).job(job), extra, variables, progress)


def run_job(
    hosts: NamespaceHosts,
    experiment: Experiment,
    folder: JobFolder,
    extra: Sequence[str],
    variables: Dict[str, str],
    progress: Progress,
) -> None:
    """Run one job; see :func:`run`. ``folder`` is the job's folder on the first host."""
    folder.path.mkdir(parents=True, exist_ok=True)
    logs = [folder.path.parent.parent / host.name / folder.job / "torchrun.log" for host in hosts]
    script = experiment.worker_command(folder, extra)[1:]
    children = start(hosts, script, logs, variables)

    def over() -> bool:
        if progress.due():
            progress.update(folder.record())
        return any(child.poll() for child in children) or all(child.poll() == 0 for child in children)

    try:
        wait_until(over)
        failed = [log for child, log in zip(children, logs) if child.poll()]
    finally:
        stop(children, GRACE)
    progress.update(folder.record())
    if failed:
        host = failed[0].parent.parent.name
        raise ClusterError(f"job {folder.job} failed on {host}: {cause(failed[0])}; log: {failed[0]}")


def start(
    hosts: NamespaceHosts, script: Sequence[str], logs: Sequence[Path], more: Dict[str, str]
) -> List[subprocess.Popen]:
    """Start torchrun on every host, with the output in a log for each."""
    variables = dict(os.environ, GLOO_SOCKET_IFNAME=LINK, **more)
    variables.setdefault("OMP_NUM_THREADS", str(omp_threads(len(hosts))))  # the hosts share this machine's processors
    place = ["--nnodes", len(hosts), "--nproc-per-node", 1, "--master-addr", hosts[0].address, "--master-port", PORT]
    children = []
    for number, (host, log) in enumerate(zip(hosts, logs)):
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "w") as stream:
            command = [sys.executable, "-m", "torch.distributed.run", *place, "--node-rank", number, *script]
            children.append(host.start(command, env=variables, stdout=stream, stderr=subprocess.STDOUT))
    return children


def cause(log: Path) -> str:
    """Return the last line that a worker printed before torchrun's own report of the failure."""
    return last_line(re.split(r"^E\d{4} ", log.read_text(), flags=re.MULTILINE)[0])
