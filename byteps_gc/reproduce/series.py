"""All of an experiment's jobs with several seeds, one after another, and their table.

They run on the cluster of the settings file, on each host of which this is started, or on simulated hosts. A folder
holds one experiment, which ``configuration.json`` describes; another experiment is rejected. Finished jobs are not run
again::

    FOLDER/configuration.json, report.html, table.md, table.csv, table.json, the plots
    FOLDER/seed-0/...          a run's folder, or one for each job with a folder for each host
"""

import dataclasses
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
from statistics import mean
import time
from typing import Any, Dict, List, Sequence, Tuple

from byteps_gc import env, report
from byteps_gc.cluster import privileges, run, simulated_cluster
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.rendezvous import Rendezvous
from byteps_gc.cluster.roles import LOOPBACK
from byteps_gc.cluster.run_folder import RunFolder
from byteps_gc.errors import SettingsError
from byteps_gc.report import configuration as written
from byteps_gc.report import machine, record, rows

FIRST_HOST = "host-1"  # the simulated host with worker 0


def minutes(seconds: float) -> str:
    """Return a readable time."""
    return f"{seconds / 60:.0f} min" if seconds >= 100 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class Series:
    """Runs of each of the jobs with each seed, in ``folder``.

    extra: more flags for the training script; hosts: number of simulated hosts, 0 for the cluster of the settings;
    rate: bandwidth of their links, see :class:`~byteps_gc.cluster.namespaces.NamespaceHosts`.
    """

    file: Path
    jobs: Sequence[str]
    seeds: Sequence[int]
    folder: Path
    extra: Sequence[str]
    hosts: int = 0
    rate: str = ""

    def tasks(self) -> List[Tuple[int, str]]:
        """Return all pairs of seed and job, in their order."""
        return [(seed, job) for seed in self.seeds for job in self.jobs]

    def record(self, seed: int, job: str) -> Path:
        """Return the path of a job's record, on the host of worker 0."""
        place = self.folder / f"seed-{seed}"
        return RunFolder(place / job / FIRST_HOST if self.hosts else place).job(job).record_file

    def configuration(self, experiment: Experiment, cluster: Host) -> Dict[str, Any]:
        """Return what all runs of a folder have in common."""
        return {
            "experiment": experiment.name,
            "flags": [*experiment.flags, *self.extra],
            "jobs": {job: experiment.job_flags(job)[len(experiment.flags) :] for job in experiment.jobs},
            "hosts": self.hosts or len(cluster.hosts),
            "namespaces": bool(self.hosts),
            "rate": self.rate,
            "workers_per_host": 1 if self.hosts else cluster.workers_per_host,
            "servers_per_host": cluster.servers_per_host,
            "min_compress_bytes": env.min_compress_bytes(),
        }


def claim(series: Series, configuration: Dict[str, Any]) -> None:
    """Write the configuration to the folder; :class:`SettingsError` if it holds runs of another one."""
    file = series.folder / written.NAME
    if not file.is_file():
        series.folder.mkdir(parents=True, exist_ok=True)
        began = {**machine.about(sorted(os.sched_getaffinity(0))), "configuration": configuration}
        file.write_text(json.dumps(began, indent=2) + "\n")
        return
    before = written.read(file).get("configuration", {})
    for name, value in configuration.items():
        if before.get(name) != value:
            raise SettingsError(
                f"{series.folder} holds runs with {name} {before.get(name)}, not {value};"
                " choose another folder with --out"
            )


def prepare(series: Series) -> None:
    """Check jobs and folder on all hosts of the cluster; :class:`UserError` on each of them for a mistake on one."""
    experiment, host = Experiment.read(series.file), Host.from_environment()
    cluster = host
    if series.hosts:  # simulated later
        host = dataclasses.replace(host, hosts=(LOOPBACK,), scheduler=LOOPBACK, port=0, index=0)
    with Rendezvous(host, [*series.jobs, str(len(series.seeds)), *series.extra]) as rendezvous:
        run.check(experiment, series.jobs, series.extra, host.variables("worker"))
        claim(series, series.configuration(experiment, cluster))
        rendezvous.join()


def left(series: Series) -> str:
    """Estimate the time of the unfinished jobs from the finished ones, for a message; empty if none is finished."""
    tasks = series.tasks()
    found = [record.read(series.record(*task)) for task in tasks]
    took = [one.epochs[-1]["seconds"] for one in found if one.finished and one.epochs]
    open_jobs = sum(not one.finished for one in found)
    return f", about {minutes(mean(took) * open_jobs)} left" if took and open_jobs else ""


def run_job(series: Series, seed: int, job: str) -> None:
    """Run or resume one job."""
    place, extra = series.folder / f"seed-{seed}", [*series.extra, "--seed", str(seed)]
    if not series.hosts:
        os.environ["BYTEPS_GC_RUN_DIR"] = str(place)
        run.run(Experiment.read(series.file), [job], extra, resume=True, begin=True)
        return
    shutil.rmtree(place / job, ignore_errors=True)  # an interrupted job's checkpoints have vanished with its hosts
    os.environ["BYTEPS_GC_RUN_DIR"] = str(place / job)
    simulated_cluster.run(Experiment.read(series.file), series.hosts, series.rate, [job], extra)


def main(series: Series) -> int:
    """Run all unfinished jobs, and write the table. Raises as :func:`byteps_gc.cluster.run.run`."""
    prepare(series)
    begun, tasks = time.monotonic(), series.tasks()
    for number, (seed, job) in enumerate(tasks, 1):
        if record.read(series.record(seed, job)).finished:
            print(f"{number} of {len(tasks)}: {job}, seed {seed}: already finished", flush=True)
            continue
        gone = minutes(time.monotonic() - begun)
        print(f"{number} of {len(tasks)}: {job}, seed {seed}; {gone} elapsed{left(series)}", flush=True)
        run_job(series, seed, job)
    conclude(series)
    privileges.give_back(series.folder)
    return 0


def conclude(series: Series) -> None:
    """Write and print the table of all records of the folder, in the experiment's order."""
    seeds = sorted(int(place.name.rpartition("-")[2]) for place in series.folder.glob("seed-*"))
    jobs = [
        name
        for job in Experiment.read(series.file).jobs
        for name in (job, *(job + suffix for suffix in rows.NARROW_SUFFIXES))
    ]
    records = rows.read([series.record(seed, job) for job in jobs for seed in seeds])
    if records:
        report.present(records, series.folder)
