"""Benchmark the exchange of a model's gradients between simulated hosts against other systems.

Every contestant exchanges the gradients of the same model between the same simulated hosts. Each host has a worker, and
a server where the system has servers. The bandwidth of the links is limited. Contestants take turns, several times. A
round begins when all workers are ready and takes as long as its slowest worker.
"""

import argparse
from collections import Counter
from dataclasses import asdict
import itertools
import json
import math
import os
from pathlib import Path
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from byteps_gc import native
from byteps_gc.bench import model_gradients, tables
from byteps_gc.bench.engine.clusters import Job
from byteps_gc.bench.peers import environments
from byteps_gc.bench.peers.jobs import DENSE_GOAL, GROUPS, PEERS, SPARSE_GOAL, Peer, Places
from byteps_gc.bench.peers.rows import UNSHAPED, Failure, Key, Row, Setting, Turn, row
from byteps_gc.cluster.namespaces import MOST_HOSTS, NamespaceHosts, bits_per_second, require
from byteps_gc.errors import ClusterError, UserError
from byteps_gc.processes import exit_on_sigterm
from byteps_gc.report import machine, table
from rich.console import Console


def take(
    peer: Peer,
    setting: Setting,
    hosts: NamespaceHosts,
    places: Places,
    logs: Path,
    commit: Optional[str],
    here: str,
) -> Turn:
    """Run one job of a contestant, of this commit and on this machine; :class:`ClusterError` if it fails."""
    plan = setting.plan(peer)

    def counts() -> List[int]:
        return [number for host in hosts for number in host.traffic()]

    job = Job(peer.roles(hosts, plan, places), logs, limit=setting.limit(peer), counts=counts).run()
    window = job.watch.window()
    bytes_a_round = [count / plan.rounds for count in window.counts]
    return Turn(
        *setting.key(peer),
        seconds=[max(times) for times in zip(*(result["rounds"] for result in job.results))],
        sent=bytes_a_round[::2],
        received=bytes_a_round[1::2],
        cpu=window.total / plan.rounds,
        load=window.others / window.seconds,
        date=time.strftime("%Y-%m-%d"),
        commit=commit,
        machine=here,
    )


class Contest:
    """All settings and contestants; what a turn finds is kept in a file at once, and not measured again.

    Contestants that meet in a setting meet on one machine: what another one has begun there is begun again.
    """

    def __init__(self, options: argparse.Namespace, peers: Sequence[Peer], places: Places, about: Dict[str, Any]):
        self.options, self.peers, self.places, self.about = options, peers, places, about
        self.turns: List[Turn] = []
        self.failed: List[Failure] = []
        if options.json and options.json.exists():
            try:
                before = json.loads(options.json.read_text())
                self.turns = [Turn(**one) for one in before["turns"]]
                self.failed = [Failure(**one) for one in before["failed"]]
                versions = dict(before["versions"])
            except (ValueError, LookupError, TypeError):
                raise UserError(
                    f"cannot continue --json {options.json}: bench peers did not write this file; choose another"
                ) from None
            self.about = {**about, "versions": self.same_versions(versions)}

    def same_versions(self, before: Dict[str, str]) -> Dict[str, str]:
        """Return the versions of all contestants of a file; :class:`UserError` if one of them is another here."""
        here = self.about["versions"]
        for name, version in before.items():
            if here.get(name, version) != version:
                raise UserError(
                    f"cannot continue --json {self.options.json}: it was measured with {name} {version}, and here is"
                    f" {here[name]}; choose another file"
                )
        return {**before, **here}

    @property
    def here(self) -> str:
        """This machine."""
        return machine.host(self.about)

    def settings(self) -> Iterator[Setting]:
        """In order, the small ones first."""
        for model in self.options.model:
            for rate in self.options.rate:
                for hosts in self.options.hosts:
                    yield Setting(model_gradients.MODELS[model], hosts, rate)

    def left(self, setting: Setting, number: int) -> List[Peer]:
        """Return the contestants with fewer than ``number`` turns at a setting, without those that failed."""
        found, failed = [one.key for one in self.turns], [one.key for one in self.failed]
        keys = {peer: setting.key(peer) for peer in self.peers}
        return [peer for peer, key in keys.items() if found.count(key) < number and key not in failed]

    def forget_other_machines(self, setting: Setting) -> None:
        """Drop a setting's turns and failures of the contestants that are to meet here, but those of this machine."""
        keys = [setting.key(peer) for peer in self.peers]
        self.turns = [one for one in self.turns if one.key not in keys or one.machine == self.here]
        self.failed = [one for one in self.failed if one.key not in keys or one.machine == self.here]

    def run(self, progress: Callable[[str], None]) -> None:
        """Measure what is missing; a contestant that fails gets no more turns there."""
        for setting in self.settings():
            if not self.left(setting, self.options.repeats):
                continue
            self.forget_other_machines(setting)
            rate = "" if setting.rate == UNSHAPED else setting.rate
            with NamespaceHosts(setting.hosts, rate, congestion=self.options.congestion) as hosts:
                for number in range(1, self.options.repeats + 1):
                    for peer in self.left(setting, number):
                        progress(f"{setting}, turn {number} of {self.options.repeats}: {peer.name}")
                        self.meet(peer, setting, hosts)

    def meet(self, peer: Peer, setting: Setting, hosts: NamespaceHosts) -> None:
        """One turn of a contestant, unless it has failed there with another model."""
        reason = self.failed_before(peer, setting)
        if not reason:
            with tempfile.TemporaryDirectory(prefix="byteps_gc-") as logs:
                try:
                    turn = take(peer, setting, hosts, self.places, Path(logs), self.about["commit"], self.here)
                    self.turns.append(turn)
                except ClusterError as error:
                    reason = str(error).splitlines()[0]
        if reason:
            self.failed.append(Failure(*setting.key(peer), self.here, reason))
        self.write()

    def failed_before(self, peer: Peer, setting: Setting) -> str:
        """Why a contestant is not tried with a setting's model between these hosts; nothing if it is."""
        wanted = peer.name, setting.hosts, setting.rate, self.here
        models = [one.model for one in self.failed if (one.peer, one.hosts, one.rate, one.machine) == wanted]
        return f"not tried, because it failed with {models[0]}" if models else ""

    def rows(self) -> List[Row]:
        """Of all contestants but those that failed, by model, rate and hosts."""
        taken: Dict[Key, List[Turn]] = {}
        for turn in self.turns:
            taken.setdefault(turn.key, []).append(turn)
        failed = [one.key for one in self.failed]
        found = [row(turns) for key, turns in taken.items() if key not in failed]
        models, peers = [*model_gradients.MODELS], [peer.name for peer in PEERS]
        return sorted(
            found,
            key=lambda one: (
                models.index(one.model),
                math.inf if one.rate == UNSHAPED else bits_per_second(one.rate),
                one.hosts,
                peers.index(one.peer) if one.peer in peers else len(peers),
            ),
        )

    def write(self) -> None:
        """Write what has been found so far."""
        if self.options.json:
            found = {name: [*map(asdict, getattr(self, name))] for name in ("failed", "turns")}
            found["rows"] = [*map(asdict, self.rows())]
            whole = self.options.json.with_name(self.options.json.name + ".new")
            whole.write_text(json.dumps({**self.about, **found}, indent=2) + "\n")
            whole.replace(self.options.json)  # at once, or not at all


TITLES = ("system", "median s", "min s", "max s", "limit s", "x limit", "goal s", "x goal")
TITLES += ("MB sent", "MB received", "CPU s")


def cells(one: Row) -> Tuple[str, ...]:
    """A row of a setting's table."""
    times = (f"{value:.3f}" for value in (one.seconds, one.seconds_min, one.seconds_max))
    bounds = [
        cell
        for bound in (one.limit_seconds, one.goal_seconds)
        for cell in (("", "") if bound is None else (f"{bound:.3f}", f"{one.seconds / bound:.2f}"))
    ]
    return (one.peer, *times, *bounds, f"{one.mb_sent:.2f}", f"{one.mb_received:.2f}", f"{one.cpu_seconds:.3f}")


def met(rows: Sequence[Row]) -> Iterator[Tuple[str, List[Row]]]:
    """Each setting that was met, and its rows, which stand together."""
    for _, group in itertools.groupby(rows, key=lambda one: one.setting):
        together = [*group]
        yield together[0].setting, together


def environment(contest: Contest) -> str:
    """The versions of Python and of the contestants, and TCP's congestion control."""
    versions = (f"{name} {version}" for name, version in contest.about["versions"].items())
    return ", ".join([f"Python {contest.about['python']}", *versions])


def markdown(contest: Contest, rows: Sequence[Row]) -> str:
    """The tables of all settings, for a document, with where they come from and who failed."""
    group = contest.peers[0].group
    words = "" if group == GROUPS[0] else f" --group {group}"
    lines = [
        f"`python -m byteps_gc bench peers{words}`; {environment(contest)}.",
        "Median, minimum and maximum time of a round over all turns; limit: the time the link needs for the bytes.",
        "CPU s: CPU time of all processes per round, including the preparation of the next round's gradients.",
    ]
    if any(one.goal_seconds for one in rows):
        lines += [
            f"Goal: {DENSE_GOAL.times:g} x limit uncompressed and with fp16; {SPARSE_GOAL.times:g} x limit, or"
            f" {SPARSE_GOAL.least * 1000:g} ms if that is larger, for topk and randomk at {SPARSE_GOAL.rate}."
        ]
    taken = Counter(one.key for one in contest.turns)
    for setting, together in met(rows):
        origins = sorted({f"{one.date}, commit {one.commit}, {one.machine}" for one in together})
        load, turns = max(one.load for one in together), sorted({taken[one.key] for one in together})
        words = f"{' or '.join(map(str, turns))} turns each; other processes used at most {load:.2f} cores."
        lines += ["", f"## {setting}", "", f"{'; '.join(origins)}; {words}", ""]
        lines += table.lines(TITLES, map(cells, together))
    lines += ["", *(f"- failed: {one}" for one in contest.failed)] if contest.failed else []
    return "\n".join(lines) + "\n"


def chosen(names: Sequence[str], group: str) -> List[Peer]:
    """The contestants of these names; all of a group for none. :class:`UserError`."""
    known = {peer.name: peer for peer in PEERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"unknown peer {', '.join(unknown)}; known: {', '.join(known)}")
    return [peer for peer in PEERS if (peer.name in names if names else peer.group == group)]


def check(options: argparse.Namespace) -> None:
    """:class:`UserError` for a flag that cannot be."""
    for model in options.model:
        if model not in model_gradients.MODELS:
            raise UserError(f"unknown model {model}; known: {', '.join(model_gradients.MODELS)}")
    for rate in options.rate:
        if rate != UNSHAPED:
            bits_per_second(rate)
    if not 2 <= min(options.hosts) <= max(options.hosts) <= MOST_HOSTS:
        raise UserError(f"--hosts must be between 2 and {MOST_HOSTS}")
    if options.repeats < 1:
        raise UserError("--repeats must be at least 1")
    tables.require_writable("--json", options.json)
    tables.require_writable("--markdown", options.markdown)


def main(options: argparse.Namespace) -> int:
    """Measure, print the table and write the files."""
    check(options)
    peers = chosen(options.peer, options.group)
    require(["util-linux", "iproute2"])
    exit_on_sigterm()
    native.library()
    with tempfile.TemporaryDirectory(prefix="byteps_gc-") as folder, Console(stderr=True).status("") as status:
        needs = {peer.needs for peer in peers}
        places = environments.prepare(needs, Path(folder), status.update, options.torch_python)
        versions = {**environments.versions(places, mxnet=needs != {"torch"}), "TCP": options.congestion}
        about = {**machine.about(sorted(os.sched_getaffinity(0))), "versions": versions}
        contest = Contest(options, peers, places, about)
        contest.run(status.update)
    rows = contest.rows()
    print(environment(contest))
    for setting, together in met(rows):
        print(setting)
        tables.show(TITLES, map(cells, together))
    for failure in contest.failed:
        print(failure)
    if options.markdown:
        options.markdown.write_text(markdown(contest, rows))
    return 0
