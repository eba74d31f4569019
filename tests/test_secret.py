"""The file with a job's secret: made, read, rejected, and made anew for each job on one machine."""

import os
from pathlib import Path
import sys

from byteps_gc.cluster import secret
from byteps_gc.cluster.supervisor import free_port
from byteps_gc.errors import ClusterError
import pytest
import zmq

from conftest import EXAMPLE

SHOW = (
    "import os, byteps_gc.numpy as bps; bps.init(); path = os.environ['BYTEPS_GC_SECRET_FILE'];"
    " print(path, oct(os.stat(path).st_mode), open(path).read())"
)
HOLD = """
import time
from byteps_gc.cluster import secret
with secret.fresh() as variable:
    print(*variable.values(), flush=True)
    time.sleep(1000)
"""


def test_the_command_writes_a_secret_and_says_how_to_copy_it(commands, tmp_path):
    file = tmp_path / "mine"
    result = commands.python("-m", "byteps_gc", "secret", "mine")
    copy = f"parallel-scp -h hosts -l ubuntu {file} {file}"
    assert (result.status, result.output) == (
        0,
        f"wrote {file}; copy it to all hosts, to the same place:\n    {copy}\n",
    )
    assert oct(file.stat().st_mode) == "0o100600"
    keys = secret.load(file)
    assert file.read_bytes() == keys.secret + b"\n" and zmq.curve_public(keys.secret) == keys.public
    assert len(keys.secret) == 40
    before = file.read_bytes()
    result = commands.python("-m", "byteps_gc", "secret", "mine")
    message = f"byteps_gc: {file} already exists; remove it to make a new secret\n"
    assert (result.status, result.output) == (2, message)
    assert file.read_bytes() == before
    result = commands.python("-m", "byteps_gc", "secret", "no/mine")
    assert (result.status, result.output) == (
        2,
        f"byteps_gc: cannot write {tmp_path}/no/mine: No such file or directory\n",
    )


def test_every_secret_is_another(tmp_path):
    assert len({secret.load(secret.make(tmp_path / str(number))) for number in range(3)}) == 3


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(zmq, "curve_keypair", lambda: (b"", Unwritable(b"a" * 40)))
    with pytest.raises(ClusterError, match="cannot write .*: No space left on device"):
        secret.make(tmp_path / "secret")
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_temporary_folder_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(secret.tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="cannot make a folder for the secret of this job: No such file"):
        with secret.fresh():
            pass


def test_a_fresh_secret_is_private_and_gone_afterwards():
    with secret.fresh() as variable:
        file = Path(variable["BYTEPS_GC_SECRET_FILE"])
        assert secret.load(file)
        assert [oct(path.stat().st_mode) for path in (file, file.parent)] == ["0o100600", "0o40700"]
    assert not file.parent.exists()


def test_a_killed_launcher_leaves_no_secret(commands):
    child = commands.start(sys.executable, "-c", HOLD)
    file = Path(child.stdout.readline().strip())
    assert secret.load(file)
    child.kill()
    assert commands.gone() == []
    assert not file.parent.exists()


class Unwritable(bytes):
    """A key that no disk has room for."""

    def __add__(self, other):
        raise OSError(28, os.strerror(28))


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "the file holds no secret; expected one line of 40 characters"),
        (b"a" * 39 + b"\n", "the file holds no secret"),
        (b"a" * 41 + b"\n", "the file holds no secret"),
        (b"a" * 40 + b"\nmore\n", "the file holds no secret"),
        (b"~" * 40 + b"\n", "the file holds no secret"),
        (b"\xff" * 40, "the file holds no secret"),
    ],
)
def test_what_is_no_secret_is_rejected(tmp_path, content, why):
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ClusterError, match=f"BYTEPS_GC_SECRET_FILE={file}: {why}"):
        secret.load(file)


def test_a_file_that_cannot_be_used_is_rejected(tmp_path):
    file = secret.make(tmp_path / "secret")
    for mode in (0o640, 0o604, 0o660, 0o644):
        file.chmod(mode)
        with pytest.raises(ClusterError, match=rf"may read the secret \(mode {mode:o}\); run chmod 600 {file}$"):
            secret.load(file)
    file.chmod(0o400)
    assert secret.load(file)
    with pytest.raises(ClusterError, match="cannot read the secret: No such file or directory; make one with "):
        secret.load(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for strange in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ClusterError, match="no secret|Is a directory"):
            secret.load(strange)


def test_a_role_with_a_wrong_secret_says_so(commands, tmp_path):
    place = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "1", "DMLC_NUM_WORKER": "1", "DMLC_NUM_SERVER": "1"}
    for role in ("scheduler", "server"):
        result = commands.python(
            "-m", "byteps_gc", "role", DMLC_ROLE=role, BYTEPS_GC_SECRET_FILE=str(tmp_path / "x"), **place
        )
        assert result.status == 2 and result.output.startswith("byteps_gc: BYTEPS_GC_SECRET_FILE=/"), result.output
        assert len(result.output.splitlines()) == 1


@pytest.mark.cluster
@pytest.mark.parametrize("with_secret", [True, False])
def test_a_scheduler_without_a_secret_warns(commands, tmp_path, with_secret):
    place = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": str(free_port()), "BYTEPS_GC_START_TIMEOUT": "1"}
    place.update(DMLC_ROLE="scheduler", DMLC_NUM_WORKER="1", DMLC_NUM_SERVER="1")
    if with_secret:
        place["BYTEPS_GC_SECRET_FILE"] = str(secret.make(tmp_path / "mine"))
    result = commands.python("-m", "byteps_gc", "role", **place)
    assert result.output.count(f"byteps_gc: warning: {secret.OPEN}\n") == (0 if with_secret else 1), result.output


@pytest.mark.cluster
def test_a_job_on_one_machine_has_a_secret_of_its_own(commands, tmp_path):
    """Whatever the caller's environment names; it is gone afterwards."""
    seen = set()
    for variables in ({}, {"BYTEPS_GC_SECRET_FILE": "/nowhere"}):
        result = commands.launch("-c", SHOW, servers=1, **variables)
        lines = [line.split(" | ")[1] for line in result.output.splitlines() if line.startswith("worker-")]
        paths = {line.split()[0] for line in lines if "0o100600" in line}
        assert len(paths) == 1, result.output
        (path,) = map(Path, paths)
        assert not path.exists() and not path.parent.exists()
        seen.add(path)
    assert len(seen) == 2


def test_the_scripts_use_the_secret_next_to_them(commands, tmp_path):
    """An explicit BYTEPS_GC_SECRET_FILE wins."""
    here = tmp_path / "scripts"
    here.mkdir()
    for name in ("settings.sh", "server.sh"):
        (here / name).write_bytes((EXAMPLE / name).read_bytes())
    show = f'here="{here}"; . "$here/settings.sh"; echo "$BYTEPS_GC_SECRET_FILE"'
    assert commands.run("bash", "-euc", show).output == "\n"
    file = secret.make(here / secret.NAME)
    assert commands.run("bash", "-euc", show).output == f"{file}\n"
    assert commands.run("bash", "-euc", show, BYTEPS_GC_SECRET_FILE="/mine").output == "/mine\n"
    words = ["bash", here / "server.sh", "--print"]
    result = commands.run(*words, BYTEPS_GC_PORT="1234", BYTEPS_GC_PYTHON=sys.executable)
    assert f"BYTEPS_GC_SECRET_FILE={file}" in result.output


def test_a_secret_in_memory_is_loaded_like_a_file():
    key = secret.new_key()
    handle = secret.in_memory(key)
    try:
        assert secret.load(Path(f"/proc/self/fd/{handle}")).secret == key
    finally:
        os.close(handle)
