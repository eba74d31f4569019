"""An experiment's jobs on hosts that are namespaces of this machine, by the steps of docs/cluster.md.

The scripts and one settings file are copied to all hosts, pssh runs ``./run.sh``
on them, and the logs are collected here, with the table and the plot.
"""

import contextlib
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import time
from typing import Dict, List, Sequence

from byteps_gc import env
from byteps_gc.cluster import folders
from byteps_gc.cluster import run as jobs_of_a_host
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.namespaces import NamespaceHosts, home, require
from byteps_gc.cluster.roles import omp_threads
from byteps_gc.cluster.ssh import pssh, scp, serve
from byteps_gc.errors import ClusterError, SettingsError
from byteps_gc.report import record
from byteps_gc.report.progress import Progress

PACKAGES = ("util-linux", "iproute2", "openssh-server", "pssh")
PORT = 1234  # of the scheduler, in a network that nobody else is in
# variables of the caller's that the hosts get too
HANDED_ON = re.compile(rf"(BYTEPS_(?!GC_)|OMP_|MXNET_)\w+|{'|'.join(env.TIMEOUTS)}")


def settings(text: str, values: Dict[str, str], exports: Dict[str, str]) -> str:
    """The settings file with other defaults in the place of its own, and with lines that export more variables."""
    for name, value in values.items():
        line = re.compile(rf'^: "\${{{name}:=.*}}"$', re.MULTILINE)
        if len(line.findall(text)) != 1:
            raise SettingsError(f"settings.sh has no line for {name}, or several")
        text = line.sub(lambda match, name=name, value=value: f': "${{{name}:={value}}}"', text)
    return text + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())


def write_scripts(hosts: NamespaceHosts, scripts: Path, experiment: str, out: str) -> List[str]:
    """Lay the scripts down on the console with the settings of this cluster; returns their paths there."""
    values = {
        "BYTEPS_GC_HOSTS": " ".join(host.address for host in hosts),
        "BYTEPS_GC_PORT": str(PORT),
        "BYTEPS_GC_WORKERS_PER_HOST": "1",
        "BYTEPS_GC_EXPERIMENT": experiment,
        "BYTEPS_GC_PYTHON": sys.executable,
        "BYTEPS_GC_RUN_DIR": out,
    }
    exports = {"OMP_NUM_THREADS": str(omp_threads(len(hosts)))}  # the hosts share this machine's processors
    exports.update((name, value) for name, value in os.environ.items() if HANDED_ON.fullmatch(name))
    copies = []
    hosts.console.path("/run/scripts").mkdir()
    for file in scripts.iterdir():
        if file.is_file():
            copies.append(f"/run/scripts/{file.name}")
            copy = hosts.console.path(copies[-1])
            copy.write_bytes(file.read_bytes())
            copy.chmod(file.stat().st_mode)
    file = hosts.console.path("/run/scripts/settings.sh")
    file.write_text(settings(file.read_text(), values, exports))
    return copies


def follow(child: subprocess.Popen, jobs: Sequence[str], folder: Path) -> None:
    """Show the jobs' progress, from the records that the first host writes to ``folder``, until the child ends."""
    with Progress() as progress:
        for job in jobs:
            progress.job(job)
            one = record.Record()
            while not one.finished and child.poll() is None:
                time.sleep(0.2)
                if progress.due():
                    one = record.read(folder / job / f"{job}.jsonl")
                    progress.update(one)
    child.wait()


def collect(hosts: NamespaceHosts, out: str, folder: Path) -> None:
    """Copy every host's run folder to ``folder``/HOST."""
    for host in hosts:
        hosts.console.run(scp(f"{host.address}:{out}", folder / host.name))


def run(scripts: Path, count: int, rate: str, name: str, words: Sequence[str], extra: Sequence[str]) -> int:
    """Run jobs of the experiment ``name`` in the folder ``scripts`` on ``count`` hosts; returns 0.

    rate: of every host's link, see :class:`NamespaceHosts`; words: jobs, none for all of the experiment's;
    extra: flags for the training script. Mistakes raise :class:`UserError` before anything is made,
    a run that fails on some host :class:`ClusterError`.
    """
    require(PACKAGES)
    hosts = NamespaceHosts(count, rate)
    experiment = Experiment.read(scripts / f"{name}.ini")
    jobs = experiment.select(words)
    jobs_of_a_host.check(experiment, jobs, extra, dict(os.environ, DMLC_WORKER_ID="0"))
    with hosts:
        serve(hosts)
        folder = folders.new(f"{name}-{count}-hosts")
        out = f"{home()}/{folder.name}"
        files = write_scripts(hosts, scripts, name, out)
        hosts.console.run(pssh(hosts, "parallel-scp", *files, "."))
        command = shlex.join(["./run.sh", " ".join(jobs), *(["--", *extra] if extra else [])])
        line = pssh(hosts, "parallel-ssh", "-i", "-t", "0", command)
        print(" ".join(map(shlex.quote, line)), flush=True)
        log = folder / "pssh.log"
        with open(log, "w") as stream:
            child = hosts.console.start(line, stdout=stream, stderr=subprocess.STDOUT)
            follow(child, jobs, hosts[0].path(out))
        print(log.read_text(), flush=True)
        with contextlib.suppress(*[ClusterError] if child.returncode else []):
            collect(hosts, out, folder)
    if child.returncode:
        raise ClusterError(f"the run failed on some of the hosts; what there is of their logs: {folder}")
    jobs_of_a_host.conclude(folder)
    return 0
