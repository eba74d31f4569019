"""The readers of image sets, on small files of the real formats, and how workers share images."""

import gzip
from pathlib import Path
import pickle
import struct

from byteps_gc.data import images
from byteps_gc.data.loader import InMemory, Loader, augmented, normalized
from byteps_gc.data.sharding import ShardedSampler, validation_part
from byteps_gc.errors import DatasetError
import numpy as np
import pytest

COUNT = 12


@pytest.fixture
def cifar():
    """Images (n, 3, 32, 32) and labels as CIFAR100 stores them."""
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (COUNT, 3, 32, 32)).astype(np.uint8), rng.randint(0, 100, COUNT)


def write_binary(folder, cifar):
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = cifar
    records = [bytes([label % 20, label]) + image.tobytes() for image, label in zip(pixels, labels)]
    for part in ("train", "test"):
        (folder / f"{part}.bin").write_bytes(b"".join(records))


def write_pickle(folder, cifar):
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = cifar
    content = {b"data": pixels.reshape(COUNT, -1), b"fine_labels": labels.tolist(), b"coarse_labels": [0] * COUNT}
    for part in ("train", "test"):
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize(
    "place, write",
    [
        (".", write_binary),
        ("cifar-100-binary", write_binary),
        (".", write_pickle),
        ("cifar-100-python", write_pickle),
    ],
)
@pytest.mark.parametrize("train", [True, False])
def test_cifar100_in_all_its_distributions(tmp_path, cifar, place, write, train):
    write(tmp_path / place, cifar)
    read, labels = images.load("cifar100", tmp_path, train)
    assert read.dtype == np.uint8 and labels.dtype == np.int32
    assert (read.transpose(0, 3, 1, 2) == cifar[0]).all()
    assert (labels == cifar[1]).all()
    assert len(images.load("cifar100", tmp_path, train, 5)[0]) == 5


def test_a_missing_data_set_says_where_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match="no CIFAR100 in .*: expected train.bin, .*cs.toronto.edu/~kriz/cifar.html"):
        images.load("cifar100", tmp_path, True)
    with pytest.raises(DatasetError, match="install Debian's package dataset-fashion-mnist"):
        images.load("fashion-mnist", tmp_path, True)
    with pytest.raises(DatasetError, match="unknown data set 'mnist'; known: cifar100, fashion-mnist, synthetic"):
        images.load("mnist", None, True)


def test_damaged_files_are_refused(tmp_path, cifar):
    write_binary(tmp_path, cifar)
    file = tmp_path / "train.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="not a whole number of 3074-byte images"):
        images.load("cifar100", tmp_path, True)
    file.write_bytes(b"\xff" * 3074)
    with pytest.raises(
        DatasetError, match="train.bin has label 255 of type uint8 at index 0; expected integers from 0 to 99"
    ):
        images.load("cifar100", tmp_path, True)
    file.unlink()
    write_pickle(tmp_path, cifar)
    (tmp_path / "train").write_bytes((tmp_path / "train").read_bytes()[:1000])
    with pytest.raises(DatasetError, match="is not a CIFAR100 pickle"):
        images.load("cifar100", tmp_path, True)


class Harmful:
    """Its pickle runs a command when it is read."""

    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").write_bytes(pickle.dumps({b"data": Harmful()}))
    with pytest.raises(DatasetError, match="which is not allowed in a data set"):
        images.load("cifar100", tmp_path, True)
    assert not Path("harmed").exists()


def write_idx(file, array):
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(str(file), "wb") as stream:
        stream.write(header + array.tobytes())


def test_fashion_mnist_is_padded_and_coloured(tmp_path):
    grey = np.random.RandomState(0).randint(0, 256, (COUNT, 28, 28)).astype(np.uint8)
    labels = np.arange(COUNT, dtype=np.uint8) % 10
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", grey)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    read, got = images.load("fashion-mnist", tmp_path, True)
    assert read.shape == (COUNT, 32, 32, 3) and (got == labels).all()
    assert (read[:, 2:-2, 2:-2, 1] == grey).all() and read[:, :2].sum() == 0
    with pytest.raises(DatasetError, match="cannot take 13 training images of .*: it has 12"):
        images.load("fashion-mnist", tmp_path, True, 13)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="cannot read"):
        images.load("fashion-mnist", tmp_path, True)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels[:-1])
    with pytest.raises(DatasetError, match=r"has 12 images and labels of shape \(11,\); expected one each"):
        images.load("fashion-mnist", tmp_path, True)


def test_debians_fashion_mnist_is_whole():
    assert images.load("fashion-mnist", None, True)[0].shape == (60000, 32, 32, 3)
    assert images.load("fashion-mnist", None, False)[0].shape == (10000, 32, 32, 3)


def test_workers_take_the_same_number_of_whole_batches():
    parts = [ShardedSampler(103, batch_size=8, rank=rank, workers=3, seed=5) for rank in range(3)]
    chosen = [list(part) for part in parts]
    assert [len(one) for one in chosen] == [32, 32, 32]
    assert len(set(sum(chosen, []))) == 96
    assert list(parts[0]) == chosen[0]
    parts[0].epoch = 1
    assert list(parts[0]) != chosen[0]
    with pytest.raises(DatasetError, match="fewer than one batch of 8 for each of 3 workers"):
        ShardedSampler(23, batch_size=8, rank=0, workers=3)


def test_validation_sees_every_image_once():
    assert sorted(sum((list(validation_part(10, rank, 3)) for rank in range(3)), [])) == list(range(10))


def test_augmentation_crops_and_flips():
    picture = np.arange(2 * 32 * 32 * 3, dtype=np.int64).reshape(2, 32, 32, 3) % 251
    many = augmented(np.repeat(picture, 64, axis=0).astype(np.uint8), np.random.RandomState(0))
    assert many.shape == (128, 32, 32, 3)
    assert len({image.tobytes() for image in many}) > 60
    again = augmented(np.repeat(picture, 64, axis=0).astype(np.uint8), np.random.RandomState(0))
    assert (many == again).all()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_the_loader_keeps_the_order(threads):
    data = images.load("synthetic", None, True, 50)
    dataset = images.DATASETS["synthetic"]
    loader = Loader(InMemory(data, dataset), list(range(49, -1, -1)), 8, threads)
    batches = list(loader)
    assert [len(labels) for _, labels in batches] == [8] * 6 + [2]
    assert (np.concatenate([labels for _, labels in batches]) == data[1][::-1]).all()
    assert np.allclose(batches[0][0], normalized(data[0][::-1][:8], dataset))
    loader.seed = 3
    assert not np.allclose(next(iter(loader))[0], batches[0][0])


def test_gluons_loader_does_not_repeat_itself():
    """Why ours exists: with the same seeds, the processes of Gluon's DataLoader draw other crops and flips."""
    import byteps_gc.mxnet  # noqa: F401
    from gluoncv.data import transforms as gcv_transforms
    import mxnet as mx
    from mxnet import gluon
    from mxnet.gluon.data.vision import transforms

    pixels, labels = images.load("synthetic", None, True, 64)
    augment = transforms.Compose([gcv_transforms.RandomCrop(32, pad=4), transforms.RandomFlipLeftRight()])
    data = gluon.data.ArrayDataset(mx.nd.array(pixels, dtype="uint8"), labels).transform_first(augment)

    def gluons():
        mx.random.seed(1)
        np.random.seed(1)
        loader = gluon.data.DataLoader(data, batch_size=16, num_workers=2)
        return np.concatenate([batch.asnumpy() for batch, _ in loader])

    def ours():
        loader = Loader(InMemory((pixels, labels), images.DATASETS["synthetic"]), range(64), 16, threads=2)
        loader.seed = 1
        return np.concatenate([batch for batch, _ in loader])

    assert (gluons() != gluons()).any()
    assert (ours() == ours()).all()
