"""The readers of image sets, on small files of the real formats, and how workers share images."""

import gzip
import os
from pathlib import Path
import pickle
import signal
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


def test_the_first_samples_of_a_data_set_are_those_of_all():
    for found, whole in zip(images.load("synthetic", None, False, 50), images.load("synthetic", None, False)):
        assert len(whole) == 2000 and (found == whole[:50]).all()


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


@pytest.fixture
def default_sigterm():
    """End child processes by SIGTERM: with a handler, as other tests set, a pool may wait for ever."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_gluons_loader_does_not_repeat_itself(default_sigterm):
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


def rejected(part, dataset, folder):
    """The one line with which a data set's training images are rejected."""
    with pytest.raises(DatasetError) as error:
        images.load(dataset, folder, True)
    line = str(error.value)
    assert "\n" not in line and part in line, line
    return line


def pickled(tmp_path, **content):
    (tmp_path / "train").write_bytes(pickle.dumps({name.encode(): value for name, value in content.items()}, 4))


GOOD = np.zeros((3, 3072), np.uint8)


@pytest.mark.parametrize(
    "data, labels, message",
    [
        (GOOD, [1, -1, 2], "train has label -1 of type int64 at index 1; expected integers from 0 to 99"),
        (GOOD, [1, 2, 100], "train has label 100 of type int64 at index 2"),
        (GOOD, [1, 2.5, 3.5], "fine_labels[1] is 2.5; expected an integer"),
        (GOOD, [1, 2, True], "fine_labels[2] is True"),
        (GOOD, [1, [2], 3], "fine_labels[1] is a list"),
        (GOOD, [1, 2**70, 3], "fine_labels[1] is 1180591620717411303424"),
        (GOOD, np.float32([1, 2, 3]), "label 1.0 of type float32 at index 0"),
        (GOOD, np.float64([np.nan] * 3), "label nan of type float64 at index 0"),
        (GOOD, np.int32([[1], [2], [3]]), "labels of shape (3, 1); expected one each"),
        (GOOD, np.uint64([1, 2**63, 3]), "label 9223372036854775808 of type uint64 at index 1"),
        (GOOD, [1, 2], "3 images and labels of shape (2,)"),
        (GOOD[:0], [], "0 images and labels of shape (0,)"),
        (GOOD, None, "fine_labels is missing"),
        (GOOD, "123", "fine_labels is a str"),
        (GOOD + np.int64([[0], [256], [0]]), [1, 2, 3], "pixel 256 of type int64 in image 1; expected integers"),
        (GOOD - np.int16([[0], [0], [1]]), [1, 2, 3], "pixel -1 of type int16 in image 2"),
        (GOOD.astype(np.float32), [1, 2, 3], "pixel 0.0 of type float32 in image 0"),
        (GOOD.reshape(3, 3, 32, 32), [1, 2, 3], "pixels of shape (3, 3, 32, 32); expected 3072 for each image"),
        (GOOD[:, 1:], [1, 2, 3], "pixels of shape (3, 3071)"),
        (np.array([None, 2]), [1, 2], "an array that is not one of numbers"),
        (np.array(["a"]), [1], "an array that is not one of numbers"),
    ],
)
def test_labels_and_pixels_of_other_kinds_are_rejected(tmp_path, data, labels, message):
    pickled(tmp_path, data=data, fine_labels=labels)
    rejected(message, "cifar100", tmp_path)


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("kind", ["<u1", "<i2", ">i4", "<u8"])
def test_pixels_of_any_integer_type_are_read(tmp_path, cifar, protocol, kind):
    pixels, labels = cifar
    content = {"data": np.asfortranarray(pixels.reshape(COUNT, -1)).astype(kind), "fine_labels": labels.astype(kind)}
    (tmp_path / "train").write_bytes(pickle.dumps(content, protocol))
    read, found = images.load("cifar100", tmp_path, True)
    assert (read.transpose(0, 3, 1, 2) == pixels).all() and (found == labels).all() and found.dtype == np.int32


# pickles that ask for much memory: by the number of a memo, by a length, by the shape of an array, by an encoding that
# doubles a text each time, by an array that is called, and by a list that holds itself many times
PICKLES = {
    "memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "text memo": b"}p99999999999\n.",
    "length": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
    "shape": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(\x8a\x06\0\0\0\0\0\x01tU\x02u8tR.",
    "call": b"\x80\x02cnumpy\nndarray\n(\x8a\x06\0\0\0\0\0\x01tR.",
    "encoding": b"\x80\x02}(X\x04\0\0\0dataq\1" + b"c_codecs\nencode\n(X\1\0\0\0aU\3hextR" + b"u.",
    "nested": b"\x80\x02}(X\x04\0\0\0data](K\1e"
    + b"".join(b"q%c](%se" % (n, b"h%c" % n * 9) for n in range(40))
    + b"u.",
    "text": b"not a pickle",
    "empty": b"",
    "list": b"].",
}
LIMITED = """
import resource, sys
from pathlib import Path
from byteps_gc.data import images
from byteps_gc.errors import DatasetError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (600 << 20), -1))
for dataset, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        images.load(dataset, Path(folder), True)
        print("accepted")
    except DatasetError as error:
        print(error)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])  # KiB; ru_maxrss counts the parent's, too
"""


def limited(commands, *words):
    """What is printed about each data set when little memory is free, and the peak in MiB."""
    result = commands.python("-c", LIMITED, *words, timeout=60)
    *lines, peak = result.output.splitlines()
    assert result.status == 0 and len(lines) == len(words) // 2, result.output
    return lines, int(peak) >> 10


def test_pickles_take_no_more_memory_than_they_have_bytes(commands, tmp_path):
    words = []
    for name, content in PICKLES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train").write_bytes(content)
        words += ["cifar100", tmp_path / name]
    lines, peak = limited(commands, *words)
    for name, line in zip(PICKLES, lines):
        assert line.startswith(f"{tmp_path / name / 'train'} is not a CIFAR100 pickle: "), line
        assert "MemoryError" not in line
    assert peak < 300


def test_damaged_pickles_are_one_line(tmp_path, cifar):
    """Whatever byte is another; those in an image make another image."""
    pixels, labels = cifar
    content = {b"fine_labels": labels.tolist(), b"data": pixels.reshape(COUNT, -1)}
    whole = pickle.dumps(content, protocol=2)
    rng = np.random.RandomState(0)
    for place in [*range(150), *range(len(whole) - 60, len(whole)), *rng.randint(0, len(whole), 100)]:
        damaged = bytearray(whole)
        damaged[place] ^= rng.randint(1, 256)
        (tmp_path / "train").write_bytes(damaged)
        try:
            images.load("cifar100", tmp_path, True)
        except DatasetError as error:
            assert len(str(error).splitlines()) == 1 and str(error).startswith(f"{tmp_path}/train ")


def idx_file(folder, part, content):
    with gzip.open(str(folder / f"train-{part}-ubyte.gz"), "wb") as stream:
        stream.write(content)


def idx_header(*shape):
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)


@pytest.mark.parametrize(
    "content, message",
    [
        (idx_header(2**32 - 1, 2**32 - 1, 2**32 - 1), "at most 536870912 are read into memory"),
        (idx_header(2**22, 2**21, 2**21), "has 18446744073709551616 bytes"),  # 0 in 64 bits
        (idx_header(3, 28, 28) + bytes(3 * 28 * 28 - 1), "announces 2352 bytes, 3 x 28 x 28, but holds only 2351"),
        (idx_header(3, 28, 28) + bytes(3 * 28 * 28 + 1), "announces 2352 bytes, 3 x 28 x 28, but holds more"),
        (idx_header(3, 28, 28)[:-1], "is not an IDX file of unsigned bytes with 3 dimensions"),
        (idx_header(3, 28), "is not an IDX file of unsigned bytes with 3 dimensions"),
        (b"", "is not an IDX file"),
        (idx_header(0, 28, 28), "0 images and labels of shape (3,)"),
        (idx_header(3, 7, 7) + bytes(3 * 49), "has images of shape (3, 7, 7); expected 28 x 28 pixels"),
    ],
)
def test_idx_headers_are_checked(tmp_path, content, message):
    idx_file(tmp_path, "images-idx3", content)
    idx_file(tmp_path, "labels-idx1", idx_header(3) + bytes(3))
    rejected(message, "fashion-mnist", tmp_path)


def test_idx_labels_beyond_the_classes_are_rejected(tmp_path):
    idx_file(tmp_path, "images-idx3", idx_header(3, 28, 28) + bytes(3 * 28 * 28))
    idx_file(tmp_path, "labels-idx1", idx_header(3) + bytes((9, 10, 255)))
    message = "labels-idx1-ubyte.gz has label 10 of type uint8 at index 1; expected integers from 0 to 9"
    rejected(message, "fashion-mnist", tmp_path)


def test_damaged_gzip_streams_are_one_line(tmp_path):
    idx_file(tmp_path, "labels-idx1", idx_header(3) + bytes(3))
    idx_file(tmp_path, "images-idx3", idx_header(3, 28, 28) + np.random.RandomState(1).bytes(3 * 28 * 28))
    file = tmp_path / "train-images-idx3-ubyte.gz"
    whole = file.read_bytes()
    for place in range(10, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        try:
            images.load("fashion-mnist", tmp_path, True)
        except DatasetError as error:
            assert len(str(error).splitlines()) == 1 and f"{file}" in str(error)
        else:
            assert place < 60  # the name of the file in the header of gzip
    file.write_bytes(whole[:-1])
    rejected("cannot read", "fashion-mnist", tmp_path)


def test_bombs_are_not_decompressed(commands, tmp_path):
    """2 GiB of zeros, after a header that announces three images; and a file of 1 TiB on no blocks."""
    zeros = gzip.compress(bytes(1 << 25), 1)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_header(3, 28, 28)) + 64 * zeros)
    for name in ("binary", "pickle"):
        (tmp_path / name).mkdir()
        file = tmp_path / name / ("train.bin" if name == "binary" else "train")
        file.touch()
        os.truncate(file, 1 << 40)
    lines, peak = limited(
        commands, "fashion-mnist", tmp_path, "cifar100", tmp_path / "binary", "cifar100", tmp_path / "pickle"
    )
    assert "announces 2352 bytes, 3 x 28 x 28, but holds more" in lines[0]
    assert all("has 1099511627776 bytes; at most 536870912 are read into memory" in line for line in lines[1:])
    assert peak < 300
