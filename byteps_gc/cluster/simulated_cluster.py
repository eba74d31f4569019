"""Run an experiment's jobs on simulated hosts: network namespaces of this machine, with links of a given bandwidth.

``run.sh`` is started on every host, either directly, from the folder that it is in, or by the steps of
docs/cluster.md: the scripts and a settings file are copied to all hosts, pssh starts ``./run.sh`` there, and
the logs are collected here. Experiments of PyTorch are started by torchrun instead.
"""

import contextlib
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys
import time
from typing import Dict, List, NamedTuple, Optional, Sequence

from byteps_gc import env
from byteps_gc.cluster import privileges, secret, simulated_torchrun
from byteps_gc.cluster.experiment import TORCHRUN, Experiment
from byteps_gc.cluster.namespaces import BASIC, NamespaceHosts, home, require
from byteps_gc.cluster.roles import omp_threads
from byteps_gc.cluster.run import check, conclude
from byteps_gc.cluster.run_folder import RunFolder
from byteps_gc.cluster.ssh import pssh, scp, serve
from byteps_gc.errors import ClusterError, SettingsError
from byteps_gc.processes import last_line
from byteps_gc.report import record
from byteps_gc.report.progress import Progress

PACKAGES = (*BASIC, "openssh-server", "pssh")
RUN_LOG = "run.log"  # what run.sh prints on a host
PORT = 1234  # of the scheduler, in a network that nobody else is in
# variables of the caller that are passed to the hosts
PASSED_ON = re.compile(rf"(BYTEPS_(?!GC_)|OMP_|MXNET_)\w+|{'|'.join(env.TIMEOUTS)}")


class Started(NamedTuple):
    """A run that has been started.

    children: its processes on this machine; logs: the file with the output of each;
    first: the first host's run folder, by a path of this process.
    """

    children: List[subprocess.Popen]
    logs: List[Path]
    first: RunFolder


def settings(text: str, values: Dict[str, str], exports: Dict[str, str]) -> str:
    """Return a settings file with other default ``values``, and with lines that export more variables."""
    for name, value in values.items():
        line = re.compile(rf'^: "\${{{name}:=.*}}"$', re.MULTILINE)
        if len(line.findall(text)) != 1:
            raise SettingsError(f"settings.sh has no line for {name}, or several")
        text = line.sub(lambda match, name=name, value=value: f': "${{{name}:={value}}}"', text)
    return text + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in exports.items())


def values(hosts: NamespaceHosts, experiment: str) -> Dict[str, str]:
    """Return the settings of a cluster of these hosts, by their names in settings.sh."""
    return {
        "BYTEPS_GC_HOSTS": " ".join(host.address for host in hosts),
        "BYTEPS_GC_PORT": str(PORT),
        "BYTEPS_GC_WORKERS_PER_HOST": "1",
        "BYTEPS_GC_EXPERIMENT": experiment,
        "BYTEPS_GC_PYTHON": sys.executable,
    }


def write_scripts(hosts: NamespaceHosts, scripts: Path, experiment: str, out: str) -> List[str]:
    """Write the scripts, with settings and a secret of this cluster, to the console; return their paths there."""
    defaults = dict(values(hosts, experiment), BYTEPS_GC_RUN_DIR=out)
    exports = {"OMP_NUM_THREADS": str(omp_threads(len(hosts)))}  # the hosts share this machine's processors
    exports.update((name, value) for name, value in os.environ.items() if PASSED_ON.fullmatch(name))
    copies = []
    hosts.console.path("/run/scripts").mkdir()
    for file in scripts.iterdir():
        if file.is_file() and file.name != secret.NAME:
            copies.append(f"/run/scripts/{file.name}")
            copy = hosts.console.path(copies[-1])
            copy.write_bytes(file.read_bytes())
            copy.chmod(file.stat().st_mode)
    file = hosts.console.path("/run/scripts/settings.sh")
    file.write_text(settings(file.read_text(), defaults, exports))
    secret.make(hosts.console.path(f"/run/scripts/{secret.NAME}"))
    return [*copies, f"/run/scripts/{secret.NAME}"]


def start_directly(
    hosts: NamespaceHosts, experiment: Experiment, words: Sequence[str], out: Path, more: Dict[str, str]
) -> Started:
    """Start ``run.sh`` on every host from its own folder, with ``more`` variables; its run folder is below ``out``."""
    variables = dict(os.environ, **values(hosts, experiment.name), **more)
    variables.setdefault("OMP_NUM_THREADS", str(omp_threads(len(hosts))))  # the hosts share this machine's processors
    children, logs = [], []
    for host in hosts:
        own = out / host.name
        own.mkdir(exist_ok=True)
        logs.append(own / RUN_LOG)
        with open(logs[-1], "w") as stream:
            env_of_host = dict(variables, BYTEPS_GC_RUN_DIR=str(own))
            command = [str(experiment.folder / "run.sh"), *words]
            children.append(host.start(command, env=env_of_host, stdout=stream, stderr=subprocess.STDOUT))
    return Started(children, logs, RunFolder(out / hosts[0].name))


def start_by_pssh(hosts: NamespaceHosts, experiment: Experiment, words: Sequence[str], out: Path) -> Started:
    """Copy the scripts to every host and start ``./run.sh`` there by pssh."""
    serve(hosts)
    place = f"{home()}/{out.name}"
    files = write_scripts(hosts, experiment.folder, experiment.name, place)
    hosts.console.run(pssh(hosts, "parallel-scp", *files, "."))
    line = pssh(hosts, "parallel-ssh", "-i", "-t", "0", shlex.join(["./run.sh", *words]))
    print(" ".join(map(shlex.quote, line)), flush=True)
    log = out / "pssh.log"
    with open(log, "w") as stream:
        child = hosts.console.start(line, stdout=stream, stderr=subprocess.STDOUT)
    return Started([child], [log], RunFolder(hosts[0].path(place)))


def follow(started: Started, jobs: Sequence[str]) -> bool:
    """Show the jobs' progress, from the first host's records, until all children end; return whether all succeeded.

    A host that fails reports that to the others, whose children then end as well.
    """
    with Progress() as progress:
        for job in jobs:
            progress.job(job)
            one = record.Record()
            while not one.finished and any(child.poll() is None for child in started.children):
                time.sleep(0.2)
                if progress.due():
                    one = started.first.job(job).record()
                    progress.update(one)
    return not any([child.wait() for child in started.children])


def collect(hosts: NamespaceHosts, name: str, folder: Path) -> None:
    """Copy every host's run folder, ``name`` in its home folder, to ``folder``/HOST."""
    for host in hosts:
        hosts.console.run(scp(f"{host.address}:{home()}/{name}", folder / host.name))


def run(
    experiment: Experiment,
    count: int,
    rate: str,
    words: Sequence[str],
    extra: Sequence[str],
    by_pssh: bool = False,
) -> Path:
    """Run jobs of the experiment on ``count`` simulated hosts; return the run folder.

    rate: bandwidth of each host's link, see :class:`NamespaceHosts`; words: jobs, none for all of the experiment's;
    extra: flags for the training script; by_pssh: whether to start ``run.sh`` by pssh.
    Raises :class:`UserError` for a mistake, before any host exists, and :class:`ClusterError` if the run fails.
    """
    env.check()
    if by_pssh and experiment.launcher == TORCHRUN:
        raise SettingsError(f"--pssh starts run.sh, but {experiment.name} is started by torchrun")
    require(PACKAGES if by_pssh else BASIC)
    hosts = NamespaceHosts(count, rate, own_files=by_pssh)
    jobs = experiment.select(words)
    check(experiment, jobs, extra, dict(os.environ, DMLC_WORKER_ID="0"))
    with hosts, secret.fresh() as variable:
        folder = RunFolder.create(f"{experiment.name}-{count}-hosts").path
        words = [" ".join(jobs), *experiment.definitions(), *(["--", *extra] if extra else [])]
        try:
            if experiment.launcher == TORCHRUN:
                simulated_torchrun.run(hosts, experiment, jobs, extra, folder, variable)
            else:
                run_on(hosts, experiment, jobs, words, folder, None if by_pssh else variable)
            conclude(folder)
        finally:
            privileges.give_back(folder)
    return folder


def run_on(
    hosts: NamespaceHosts,
    experiment: Experiment,
    jobs: Sequence[str],
    words: Sequence[str],
    folder: Path,
    variables: Optional[Dict[str, str]],
) -> None:
    """Run jobs by ``run.sh`` with ``words`` on each host: directly with more ``variables``, or by pssh without any.

    Raises :class:`ClusterError` if the run fails on a host.
    """
    by_pssh = variables is None
    if by_pssh:
        started = start_by_pssh(hosts, experiment, words, folder)
    else:
        started = start_directly(hosts, experiment, words, folder, variables)
    succeeded = follow(started, jobs)
    if by_pssh:
        print(started.logs[0].read_text(), flush=True)
        with contextlib.suppress(*[] if succeeded else [ClusterError]):
            collect(hosts, folder.name, folder)
    if not succeeded:
        raise ClusterError(f"the run failed{reason(started)}; logs: {folder}")


def reason(started: Started) -> str:
    """Return the last line of the first host that failed, for a message; empty with pssh, which shows all output."""
    for child, log in zip(started.children, started.logs):
        if child.returncode and log.name == RUN_LOG:
            return f" on {log.parent.name}: {last_line(log.read_text())}"
    return ""
