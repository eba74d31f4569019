"""What the roles' processes get: their environment, host and processors."""

import os

from byteps_gc import env
from byteps_gc.cluster import bpslaunch, cluster_spec, run
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.cluster.roles import Cluster, environment
from byteps_gc.cluster.run_folder import Task
from byteps_gc.engine import nvidia_driver
from byteps_gc.errors import ClusterError, SettingsError
import pytest

from conftest import EXAMPLE

CLUSTER = Cluster(workers=8, servers=16, scheduler="192.168.80.230", port=1234)


def test_every_role_gets_the_guides_environment():
    for role in ("scheduler", "server", "worker"):
        variables = environment(CLUSTER, role, worker=3, address="192.168.80.233", base={})
        assert variables["DMLC_ROLE"] == role
        assert variables["DMLC_NUM_WORKER"] == "8"
        assert variables["DMLC_NUM_SERVER"] == "16"
        assert variables["DMLC_PS_ROOT_URI"] == "192.168.80.230"
        assert variables["DMLC_PS_ROOT_PORT"] == "1234"
        assert variables["DMLC_NODE_HOST"] == "192.168.80.233"
        assert variables["BYTEPS_LOG_LEVEL"] == "WARNING"
        assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
        assert 1 <= int(variables["OMP_NUM_THREADS"]) <= 4


def test_only_a_worker_has_an_id():
    assert environment(CLUSTER, "worker", worker=3, base={})["DMLC_WORKER_ID"] == "3"
    assert "DMLC_WORKER_ID" not in environment(CLUSTER, "server", base={})


def test_the_callers_values_win():
    variables = environment(CLUSTER, "worker", 0, base={"OMP_NUM_THREADS": "7", "BYTEPS_PARTITION_BYTES": "8192"})
    assert variables["OMP_NUM_THREADS"] == "7"
    assert variables["BYTEPS_PARTITION_BYTES"] == "8192"


@pytest.mark.parametrize("cuda, operators", [(False, "4"), (True, None)])
def test_on_a_cpu_gradients_come_early(monkeypatch, cuda, operators):
    monkeypatch.setattr(nvidia_driver, "wanted", lambda: cuda)
    variables = environment(CLUSTER, "worker", 0, base={})
    assert variables.get("MXNET_EXEC_BULK_EXEC_MAX_NODE_TRAIN_BWD") == operators


def test_a_single_worker_still_uses_its_servers():
    assert environment(Cluster(1, 1, port=1), "worker", 0, base={})["BYTEPS_FORCE_DISTRIBUTED"] == "1"


@pytest.mark.parametrize("workers, servers, port", [(0, 1, 1), (1, 0, 1), (1, 1, 70000), (1, 1, -1)])
def test_an_impossible_cluster_is_refused(workers, servers, port):
    with pytest.raises(SettingsError):
        Cluster(workers, servers, port=port)


def test_eight_local_ranks(monkeypatch):
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "0,1,2,3,4,5,6,7")
    assert bpslaunch.local_size() == 8
    variables = [bpslaunch.rank_environment(rank, 8, "scope") for rank in range(8)]
    assert [one["BYTEPS_LOCAL_RANK"] for one in variables] == [str(rank) for rank in range(8)]
    assert {one["BYTEPS_LOCAL_SIZE"] for one in variables} == {"8"}
    assert {one["BYTEPS_GC_LOCAL_SCOPE"] for one in variables} == {"scope"}
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "")
    assert bpslaunch.local_size() == 1


def test_local_ranks_share_the_processors(monkeypatch):
    monkeypatch.delenv("BYTEPS_VISIBLE_CPU_CORES", raising=False)
    shares = bpslaunch.cores_of(2)
    if len(os.sched_getaffinity(0)) > 1:
        assert set.union(*shares) == os.sched_getaffinity(0)
        assert not set.intersection(*shares)
    monkeypatch.setenv("BYTEPS_NUMA_ON", "0")
    assert bpslaunch.cores_of(2) == [None, None]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setenv("BYTEPS_VISIBLE_CPU_CORES", "0,2-3:1")
    assert bpslaunch.cores_of(2) == [{0, 2, 3}, {1}]
    with pytest.raises(SettingsError, match="2 lists for 3 local ranks"):
        bpslaunch.cores_of(3)
    monkeypatch.setenv("BYTEPS_VISIBLE_CPU_CORES", "0:4-5")
    with pytest.raises(SettingsError, match="has a list without a core of this machine"):
        bpslaunch.cores_of(2)
    monkeypatch.setenv("BYTEPS_VISIBLE_CPU_CORES", "0;1")
    with pytest.raises(SettingsError, match="not a list of cores"):
        bpslaunch.cores_of(1)


@pytest.mark.parametrize("role", ["", "boss"])
def test_an_unknown_role_is_refused(monkeypatch, role):
    monkeypatch.setenv("DMLC_ROLE", role)
    with pytest.raises(SettingsError, match="not one of scheduler, server, worker"):
        bpslaunch.main([])


def test_a_server_without_a_scheduler_is_refused(monkeypatch):
    monkeypatch.setenv("DMLC_ROLE", "server")
    for name in env.CLUSTER:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="needs DMLC_NUM_WORKER, DMLC_NUM_SERVER"):
        bpslaunch.main([])


def settings(monkeypatch, **values):
    for name in list(os.environ):
        if name.startswith("BYTEPS_GC_"):
            monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(f"BYTEPS_GC_{name}", value)


def test_the_settings_as_they_come_stay_on_this_machine(monkeypatch):
    settings(monkeypatch)
    host = Host.from_environment()
    assert (host.hosts, host.scheduler, host.index) == (("127.0.0.1",), "127.0.0.1", 0)
    assert host.schedules
    assert host.cluster(5).workers == 2 and host.cluster(5).servers == 2


def test_the_worker_id_comes_from_the_list_of_hosts(monkeypatch, tmp_path):
    (tmp_path / "hosts").write_text("ubuntu@198.51.100.1\n198.51.100.2  # the second\n\n127.0.0.1\n")
    settings(
        monkeypatch,
        HOSTS=str(tmp_path / "hosts"),
        SCHEDULER="198.51.100.1",
        PORT="1234",
        WORKERS_PER_HOST="1",
        GPUS="0,1",
    )
    host = Host.from_environment()
    assert host.index == 2 and not host.schedules
    variables = host.role_environment("worker")
    assert variables["DMLC_WORKER_ID"] == "2"
    assert variables["DMLC_NUM_WORKER"] == "3" and variables["DMLC_NUM_SERVER"] == "6"
    assert variables["DMLC_NODE_HOST"] == "127.0.0.1"
    assert variables["NVIDIA_VISIBLE_DEVICES"] == "0,1"
    with pytest.raises(SettingsError, match="198.51.100.1 is not an address of this machine"):
        host.role_environment("scheduler")


@pytest.mark.parametrize(
    "values, words",
    [
        ({"HOSTS": "127.0.0.1 127.0.0.1"}, "expected distinct hosts"),
        ({"HOSTS": "127.0.0.1 198.51.100.1"}, "2 hosts need BYTEPS_GC_SCHEDULER"),
        ({"HOSTS": "198.51.100.1 198.51.100.2", "SCHEDULER": "198.51.100.1", "PORT": "1"}, "0 of the addresses"),
        ({"HOSTS": "/no/such/file"}, "the file does not exist"),
        (
            {"HOSTS": "a" * 64},
            r"BYTEPS_GC_HOSTS=a{60}\.\.\. is not a list of IPv4 addresses or host names of at most 63 ",
        ),
        ({"HOSTS": "node..2"}, "BYTEPS_GC_HOSTS=node..2 is not a list of IPv4 addresses or host names"),
        ({"HOSTS": "node\udcff"}, r"BYTEPS_GC_HOSTS=node\\udcff is not a list of IPv4 addresses or host names"),
        ({"HOSTS": "0.0.0.0"}, "host '0.0.0.0' has the address 0.0.0.0, which no host can have"),
        ({"SCHEDULER": "224.0.0.1"}, "host '224.0.0.1' has the address 224.0.0.1, which no host can have"),
        ({"HOSTS": "/dev/../bin/sh"}, "BYTEPS_GC_HOSTS=/dev/../bin/sh: the file is not text"),
        ({"PORT": "http"}, "BYTEPS_GC_PORT=http is not an integer from 0 to 65535"),
        ({"WORKERS_PER_HOST": "0"}, "BYTEPS_GC_WORKERS_PER_HOST=0 is not an integer from 1 to 1024"),
        ({"DEATH_TIMEOUT": "soon"}, "BYTEPS_GC_DEATH_TIMEOUT=soon is not an integer from 2 to 86400"),
    ],
)
def test_settings_that_cannot_be(monkeypatch, values, words):
    settings(monkeypatch, **values)
    with pytest.raises(SettingsError, match=words):
        Host.from_environment()


@pytest.mark.parametrize("name", ["DMLC_PS_ROOT_URI", "DMLC_NODE_HOST"])
def test_a_role_by_hand_has_no_longer_name_either(monkeypatch, name):
    values = {"DMLC_PS_ROOT_URI": "a", "DMLC_PS_ROOT_PORT": "1", "DMLC_NUM_WORKER": "1", "DMLC_NUM_SERVER": "1"}
    for variable, value in dict(values, **{name: "a" * 64}).items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(
        SettingsError, match=rf"{name}=a{{60}}\.\.\. is not an IPv4 address or a host name of at most 63 "
    ):
        env.check_cluster("server")


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_partitions_have_a_size(monkeypatch, value):
    monkeypatch.setenv("BYTEPS_PARTITION_BYTES", value)
    with pytest.raises(SettingsError, match=f"BYTEPS_PARTITION_BYTES={value} is not an integer from 1 to"):
        Host.from_environment()


@pytest.mark.parametrize(
    "plan, why", [(None, "nothing"), ([["../x", ""]], "job '../x', which this host was not asked")]
)
def test_a_plan_has_only_the_jobs_that_were_asked_for(plan, why):
    assert run.check_plan([["onebit", "epoch-3"]], ["onebit"], "127.0.0.1") == [Task("onebit", "epoch-3")]
    with pytest.raises(ClusterError, match=f"host 127.0.0.1 plans {why}"):
        run.check_plan(plan, ["onebit"], "127.0.0.1")


def test_a_name_that_is_a_loopback_address_is_refused(monkeypatch):
    """Debian gives a machine's own name 127.0.1.1."""
    settings(monkeypatch, HOSTS="198.51.100.1 node-2", SCHEDULER="198.51.100.1", PORT="1")
    monkeypatch.setattr(cluster_spec, "address_of", lambda name: "127.0.1.1" if name == "node-2" else name)
    with pytest.raises(SettingsError, match="host 'node-2' of BYTEPS_GC_HOSTS resolves to 127.0.1.1 here, which"):
        Host.from_environment()


def test_a_role_by_hand_needs_a_port(monkeypatch):
    settings(monkeypatch)
    with pytest.raises(SettingsError, match="needs BYTEPS_GC_PORT"):
        Host.from_environment().role_environment("server")


def test_the_guides_experiment():
    experiment = Experiment.read(EXAMPLE / "cifar100.ini")
    assert experiment.select([]) == ["baseline", "onebit", "topk", "randomk", "dithering"]
    more = experiment.select(["topk-ef randomk-ef", "dithering-ef-fp16"])
    assert more == ["topk-ef", "randomk-ef", "dithering-ef-fp16"]
    assert {"--ef", "--fp16-pushpull"} <= set(experiment.job_flags(more[-1]))
    assert experiment.select(["baseline onebit", "topk-fp16"]) == ["baseline", "onebit", "topk-fp16"]
    assert experiment.job_flags("topk-fp16")[-5:] == ["--compressor", "topk", "--k", "0.001", "--fp16-pushpull"]
    assert " ".join(experiment.job_flags("baseline")).endswith("--lr 0.1 --num-epochs 20")
    with pytest.raises(SettingsError, match="unknown job 'onebits'; known: baseline, onebit, topk"):
        experiment.select(["onebits"])


ONEBIT = "--compressor onebit --onebit-scaling --ef vanilla --compress-momentum nesterov"
RESNET = "--batch-size 64 --num-gpus 1 --num-epochs 120 -j 2 --warmup-epochs 5 --lr-mode cosine"
VGG = "--batch-size 32 --num-gpus 1 --num-epochs 100 -j 2 --warmup-epochs 5 --warmup-lr 0.01 --lr 0.01"


@pytest.mark.parametrize(
    "name, flags, baseline, onebit",
    [
        ("resnet50_v2", RESNET, "--warmup-lr 0.2 --lr 0.2", f"--warmup-lr 0.1 --lr 0.1 {ONEBIT}"),
        ("vgg16", f"{VGG} --lr-decay-epoch 50,80", "", ONEBIT),
    ],
)
def test_the_guides_imagenet_experiments(monkeypatch, name, flags, baseline, onebit):
    monkeypatch.setenv("HOME", "/home/ubuntu")
    experiment = Experiment.read(EXAMPLE / f"{name}.ini")
    assert experiment.script.is_file() and experiment.select([]) == ["baseline", "onebit"]
    data = "/home/ubuntu/data/ILSVRC2012"
    records = f"--rec-train {data}/train.rec --rec-train-idx {data}/train.idx"
    records += f" --rec-val {data}/val.rec --rec-val-idx {data}/val.idx"
    shared = f"--model {name} --mode hybrid --use-rec {records} {flags}".split()
    assert experiment.job_flags("baseline") == [*shared, *baseline.split()]
    assert experiment.job_flags("onebit") == [*shared, *onebit.split()]


@pytest.mark.parametrize(
    "text, words",
    [("", "has no 'experiment'"), ("[experiment]\nscript=x\n", "has no 'flags'"), ("nonsense", "no section headers")],
)
def test_an_experiment_that_cannot_be_read(tmp_path, text, words):
    file = tmp_path / "mine.ini"
    file.write_text(text)
    with pytest.raises(SettingsError, match=words):
        Experiment.read(file)
    with pytest.raises(SettingsError, match="unknown experiment 'other' in .*; known: mine"):
        Experiment.read(tmp_path / "other.ini")


def test_a_job_can_be_defined_without_the_file():
    experiment = Experiment.read(EXAMPLE / "cifar100.ini", ["mine=--compressor topk --k 0.01"])
    assert experiment.job_flags("mine-bf16")[-1] == "--bf16-pushpull"
    assert experiment.job_flags("mine-fp16")[-5:] == ["--compressor", "topk", "--k", "0.01", "--fp16-pushpull"]
    assert "mine" not in experiment.select([])
    assert "mine" not in Experiment.read(EXAMPLE / "cifar100.ini").jobs


@pytest.mark.parametrize(
    "text, words",
    [
        ("mine", "--job 'mine' is not NAME=FLAGS"),
        ("Mine=--k 1", "--job 'Mine=--k 1' is not NAME=FLAGS"),
        ("topk=--k 1", "--job topk: the experiment already has a job of this name"),
        ("mine=--k '1", "--job mine: cannot split its flags: No closing quotation"),
    ],
)
def test_a_definition_that_is_none(text, words):
    with pytest.raises(SettingsError, match=words):
        Experiment.read(EXAMPLE / "cifar100.ini", [text])


def test_environment_variables_are_checked(monkeypatch):
    monkeypatch.setenv("BYTEPS_MIN_COMPRESS_BYTES", "1k")
    with pytest.raises(SettingsError, match="BYTEPS_MIN_COMPRESS_BYTES=1k is not an integer from 0 to"):
        env.min_compress_bytes()
    monkeypatch.setenv("BYTEPS_MIN_COMPRESS_BYTES", "")
    assert env.min_compress_bytes() == 65536
