"""Every environment variable: what is accepted, that it is documented, and that no command starts anything without."""

from pathlib import Path
import re
import sys

from byteps_gc import env, variables
from byteps_gc.engine import fixups, source
from byteps_gc.errors import SettingsError
import pytest

from conftest import EXAMPLE, ROOT

HUGE = "9" * 5000
# of each kind that is not a number, what is accepted and what is not
WORDS = {
    variables.Addresses: (
        ["10.0.0.1", "node-1", "a.example.org", "n" * 63],
        ["10.0.0.256", "1", "-1", "a\x01b", "a;b", "n" * 64, HUGE],
    ),
    variables.Interface: (["lo"], ["no-such-0", "0", "-1", HUGE]),
    variables.Choice: ([], ["many", "-1", HUGE, "a\nb"]),
    variables.Text: ([], ["a\x00b", "a\nb", HUGE]),
}
VALID = {  # of texts
    "BYTEPS_GC_GPUS": ["0", "0,1,2", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"],
    "BYTEPS_GC_LOCAL_SCOPE": ["17_3"],
    "BYTEPS_GC_ROLE": ["server-0"],
    "BYTEPS_GC_BUILD": ["0.1.0 749425a"],
    "BYTEPS_ORDERED_HOSTS": ["10.0.0.1:1234,10.0.0.2"],
    "BYTEPS_VISIBLE_CPU_CORES": ["0", "1,4-5,7-11,12:20-25", "0, 1 : 2"],
    "BYTEPS_REDUCE_ROOTS": ["0,1"],
    "BYTEPS_DEBUG_SAMPLE_TENSOR": ["65536", "0xff"],
}
WRONG = {
    "BYTEPS_GC_GPUS": ["all", "0,,1", "-1"],
    "BYTEPS_GC_LOCAL_SCOPE": ["a/b"],
    "BYTEPS_GC_ROLE": ["worker 1"],
    "BYTEPS_ORDERED_HOSTS": ["10.0.0.1;10.0.0.2"],
    "BYTEPS_VISIBLE_CPU_CORES": ["all", "0-", "0;1", "0-99999999999"],
    "BYTEPS_REDUCE_ROOTS": ["-1", "first"],
    "BYTEPS_DEBUG_SAMPLE_TENSOR": ["-1", "conv0"],
}
# the engine's files that are compiled
COMPILED = ("byteps/common/**/*", "byteps/server/*", "byteps/mxnet/*", "3rdparty/ps-lite/include/ps/**/*")
COMPILED += tuple(f"3rdparty/ps-lite/src/{name}" for name in ("*.cc", "zmq_van.h", "byteps_gc_*.h", "resender.h"))


def values(name, kind):
    """Return values that a variable accepts, and such that it does not."""
    if isinstance(kind, variables.Integer):
        good = [str(kind.least), str(kind.most), f"0{kind.least}"]
        bad = ["many", "-1", str(kind.least - 1), str(kind.most + 1), "1e3", "1.0", " 1", "1_0", "٣", "0x1", "+1", HUGE]
        return good, bad
    good, bad = WORDS[type(kind)]
    more = kind.words if isinstance(kind, variables.Choice) else VALID.get(name, ["a/path"] if kind in PATHS else [])
    return [*good, *more], [*bad, *WRONG.get(name, [])]


PATHS = [kind for kind in variables.TABLE.values() if isinstance(kind, variables.Text) and "path" in kind.accepted]


@pytest.mark.parametrize("name", variables.TABLE)
def test_every_variable_accepts_what_can_work_and_nothing_else(monkeypatch, name):
    kind = variables.TABLE[name]
    good, bad = values(name, kind)
    assert good and bad and (kind.default in (None, "") or kind.accepts(str(kind.default)))
    for value in good:
        variables.check({name: value})
        monkeypatch.setenv(name, value)
        assert not isinstance(kind, variables.Integer) or env.integer(name) == int(value)
    for value in bad:
        with pytest.raises(SettingsError) as caught:
            variables.check({name: value})
        text = str(caught.value)
        assert text.startswith(f"{name}=") and text.endswith(f" is not {kind.accepted}") and len(text.splitlines()) == 1
        assert len(text) < 300 + len(kind.accepted)


@pytest.mark.parametrize("name", variables.TABLE)
def test_an_empty_variable_is_as_good_as_none(monkeypatch, name):
    """Also for the engine, which would read 0."""
    monkeypatch.setenv(name, "")
    env.check()
    assert env.text(name, "none") == "none"
    if isinstance(variables.TABLE[name], variables.Integer):
        assert name not in env.os.environ
        assert env.integer(name) == variables.TABLE[name].default


def test_the_table_has_every_variable_that_the_engine_reads(tmp_path):
    tree = source.unpack(source.fetch(env.cache_folder() / "engine"), tmp_path)
    fixups.apply(tree, fixups.select())
    files = {file for pattern in COMPILED for file in tree.glob(pattern) if file.suffix in (".cc", ".h")}
    found = {
        name
        for file in files
        for name in re.findall(r'\(\s*"((?:BYTEPS|DMLC|PS)_[A-Z_]+|PORT)"', file.read_text(errors="replace"))
    }
    assert len(found) > 40 and found <= set(variables.TABLE), found - set(variables.TABLE)


def test_every_variable_is_documented():
    """With what it accepts, and its default."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| .+ \|$", (ROOT / "docs" / "environment.md").read_text(), re.M)
    assert [name for name, _, _ in rows] == list(variables.TABLE)
    for name, accepted, default in rows:
        kind = variables.TABLE[name]
        if not isinstance(kind, variables.Interface):
            assert accepted == kind.accepted.replace("|", r"\|"), name
        assert kind.default in (None, "") or default.startswith(f"{kind.default}"), name


def test_a_misspelled_variable_is_a_warning(monkeypatch, capfd):
    for name in ("BYTEPS_GC_RUN_DIRS", "BYTEPS_GC_TEST", "BYTEPS_GC_PARTNER", "BYTEPS_DEATH_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    env.warn_of_misspelled()
    assert capfd.readouterr().err == (
        "byteps_gc: warning: unknown variable BYTEPS_GC_RUN_DIRS is ignored; did you mean BYTEPS_GC_RUN_DIR?\n"
    )


WAYS = {
    "launch": [sys.executable, "-m", "byteps_gc", "launch", "--", "true"],
    "run.sh": [EXAMPLE / "run.sh", "onebit"],
    "scheduler": [sys.executable, "-m", "byteps_gc", "role"],
    "bpslaunch": [Path(sys.executable).parent / "bpslaunch", "true"],
    "simulated hosts": [sys.executable, "-m", "byteps_gc", "run", EXAMPLE / "cifar100.ini", "--hosts", "2"],
}


@pytest.mark.parametrize("way", WAYS)
def test_no_command_starts_with_a_value_that_cannot_work(commands, way):
    role = {"scheduler": {"DMLC_ROLE": "scheduler"}, "bpslaunch": {"DMLC_ROLE": "worker"}}.get(way, {})
    result = commands.run(*WAYS[way], BYTEPS_PARTITION_BYTES="0", BYTEPS_GC_PYTHON=sys.executable, **role)
    assert result.status == 2, result.output
    (line,) = result.output.splitlines()
    assert line.endswith(": BYTEPS_PARTITION_BYTES=0 is not an integer from 1 to 1073741824")
    assert list(commands.folder.iterdir()) == []


def test_a_worker_by_hand_does_not_start_either(commands):
    code = "import byteps_gc.{} as bps; bps.init(); print('started')"
    for front_end, name, value, accepted in (
        ("mxnet", "BYTEPS_PARTITION_BYTES", "-4096000", "an integer from 1 to 1073741824"),
        ("numpy", "BYTEPS_LOCAL_RANK", "1", "an integer from 0 to 0"),
    ):
        result = commands.python("-c", code.format(front_end), **{name: value})
        assert (result.status, result.output) == (1, f"-c: {name}={value} is not {accepted}\n")
    result = commands.python("-c", code.format("numpy"), BYTEPS_PARTITION_BYTES="", BYTEPS_LOCAL_SIZE="")
    assert (result.status, result.output) == (0, "started\n")
