"""RecordIO files and image folders: read, packed, sharded, and refused when they are damaged."""

import os
from pathlib import Path
import struct

from byteps_gc.data import imagenet_transforms, packing
from byteps_gc.data.folder import Folder
from byteps_gc.data.loader import Loader
from byteps_gc.data.prefetch import ahead
from byteps_gc.data.records import FIRST, HEADER, LAST, MAGIC, MIDDLE, PART, Records, framed
from byteps_gc.data.sharding import ShardedSampler, validation_part
from byteps_gc.data.soft_labels import SoftLabels
from byteps_gc.errors import DatasetError
import cv2
import mxnet as mx
import numpy as np
import pytest

CLASSES, COUNT = 3, 5


@pytest.fixture
def folder(tmp_path):
    """A folder of small images, one sub-folder a class; the classes differ in their brightness."""
    rng = np.random.RandomState(0)
    for label in range(CLASSES):
        place = tmp_path / "images" / f"class{label}"
        place.mkdir(parents=True)
        for number in range(COUNT):
            image = 80 * label + rng.randint(0, 60, (30 + number, 40, 3))
            cv2.imwrite(str(place / f"{number}.{'jpg' if number else 'png'}"), image.astype(np.uint8))
    return tmp_path / "images"


@pytest.fixture
def packed(folder, tmp_path):
    """The .rec file of the folder."""
    packing.pack(folder, tmp_path / "all")
    return tmp_path / "all.rec"


def contents(images):
    return sorted(images.read(number) for number in range(len(images)))


def test_what_is_packed_is_what_mxnet_and_we_read(folder, packed):
    ours, files = Records(packed), Folder(folder)
    assert len(ours) == CLASSES * COUNT and ours.classes == files.classes == CLASSES
    assert contents(ours) == contents(files)
    theirs = mx.recordio.MXIndexedRecordIO(str(packed.with_suffix(".idx")), str(packed), "r")
    lines = [line.split("\t") for line in packed.with_suffix(".lst").read_text().splitlines()]
    for number, (key, label, path) in enumerate(lines):
        header, content = mx.recordio.unpack(theirs.read_idx(int(key)))
        assert ours.read(number) == (content, header.label) == ((folder / path).read_bytes(), int(label))
    assert [int(label) for _, label, _ in lines] != sorted(int(label) for _, label, _ in lines)  # shuffled


def test_a_record_that_holds_the_magic_number(tmp_path):
    """It is cut into parts there, in the same way by MXNet and by us."""
    file, magic = tmp_path / "a.rec", struct.pack("<I", MAGIC)
    contents = [magic, b"abcd" + magic + b"efgh" + magic, b"x" * 7, b"ab" + magic + b"cd", 3 * magic + b"x", b""]
    record = mx.recordio.MXIndexedRecordIO(str(file.with_suffix(".idx")), str(file), "w")
    for key, content in enumerate(contents):
        record.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, float(key), key, 0), content))
    record.close()
    ours = [framed(HEADER.pack(0, key, key, 0) + content) for key, content in enumerate(contents)]
    assert file.read_bytes() == b"".join(ours)
    records = Records(file)
    assert records.classes == 1000  # without a list
    wanted = [(content, key) for key, content in enumerate(contents)]
    assert [records.read(key) for key in range(len(records))] == wanted


def test_the_pack_command_splits_every_class(commands, folder, tmp_path):
    words = ("-m", "byteps_gc", "pack", folder, tmp_path / "out" / "set")
    result = commands.python(*words, "--val-share", 0.4, "--resize", 24)
    assert (result.status, result.output.splitlines()) == (
        0,
        [
            f"{tmp_path}/out/set_train.rec: 9 images of 3 classes",
            f"{tmp_path}/out/set_val.rec: 6 images of 3 classes",
        ],
    )
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [f"set_{part}.{suffix}" for part in ("train", "val") for suffix in ("idx", "lst", "rec")]
    train, val = (Records(tmp_path / "out" / f"set_{part}.rec") for part in ("train", "val"))
    assert [label for _, label in contents(val)].count(1) == 2
    assert not {content for content, _ in contents(train)} & {content for content, _ in contents(val)}
    for content, label in contents(train):
        image = imagenet_transforms.decode(content, "")
        assert min(image.shape[:2]) == 24 and abs(image.mean() - 80 * label - 30) < 15
    result = commands.python(*words, "--val-share", 0.4)
    assert (result.status, result.output) == (2, f"byteps_gc: {tmp_path}/out/set_train.rec already exists\n")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"val_share": 1.0}, "--val-share 1.0 is not at least 0 and below 1"),
        ({"shorter_side": 0}, "--resize 0 is not from 1 to 65500 pixels"),
        ({"shorter_side": 65501}, "--resize 65501 is not from 1 to 65500 pixels"),
        ({"seed": -1}, "--seed -1 is not from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed 4294967296 is not from 0"),
        ({"val_share": float("nan")}, "--val-share nan is not at least 0 and below 1"),
        ({"quality": 0}, "--quality 0 is not from 1 to 100"),
        ({"quality": 101}, "--quality 101 is not from 1 to 100"),
    ],
)
def test_packing_refuses_what_cannot_be(folder, tmp_path, options, message):
    with pytest.raises(DatasetError, match=message):
        packing.pack(folder, tmp_path / "out", **options)


def test_packing_refuses_damaged_images_and_leaves_nothing(folder, tmp_path):
    (folder / "class1" / "2.jpg").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="cannot decode .*class1/2.jpg: it is not a valid image"):
        packing.pack(folder, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []
    for file in sorted((folder / "class2").iterdir())[1:]:
        file.unlink()
    with pytest.raises(DatasetError, match="class2 has 1 image; --val-share needs at least 2"):
        packing.pack(folder, tmp_path / "out" / "set", val_share=0.5)


def cut(packed):
    packed.write_bytes(packed.read_bytes()[:-9])


def longer(packed):
    packed.write_bytes(packed.read_bytes() + b"\0" * 8)


def empty(packed):
    packed.write_bytes(b"")


def shifted(packed):
    packed.write_bytes(b"\0" * 4 + packed.read_bytes()[:-4])


def shorter_index(packed):
    index = packed.with_suffix(".idx")
    index.write_text("".join(index.read_text().splitlines(True)[:-1]))


def huge_index(packed):
    os.truncate(packed.with_suffix(".idx"), 1 << 40)


def written(suffix, text):
    """Replaces the index or the list."""
    return lambda packed: packed.with_suffix(suffix).write_text(text)


def listed(label):
    """Writes this label to the third line of the list."""
    return written(".lst", f"0\t0\ta\n1\t1\tb\n2\t{label}\tc\n")


def indexed(offset):
    """Appends this offset to the index."""

    def damage(packed):
        index = packed.with_suffix(".idx")
        index.write_text(index.read_text() + f"15\t{offset}\n")

    return damage


def record_of(content):
    """Makes the file one record of this content."""

    def damage(packed):
        packed.write_bytes(framed(content))
        packed.with_suffix(".idx").write_text("0\t0\n")

    return damage


def header(flag, label):
    return HEADER.pack(flag, label, 0, 0)


def many_parts(packed):
    """A record of parts that are longer together than a record may be; the disk holds next to nothing of it."""
    with open(packed, "wb") as stream:
        for place, length in ((FIRST, 24), (MIDDLE, (1 << 29) - 4), (LAST, 8)):
            stream.write(PART.pack(MAGIC, place << 29 | length))
            stream.seek(length, os.SEEK_CUR)
        stream.truncate()
    packed.with_suffix(".idx").write_text("0\t0\n")


@pytest.mark.parametrize(
    "damage, message",
    [
        (listed("-1"), "all.lst line 3 has label -1; expected an integer below 16777216"),
        (listed("1.5"), "all.lst line 3 has label 1.5; expected an integer"),
        (listed("nan"), "all.lst line 3 has label nan; expected an integer"),
        (listed("1e30"), r"all.lst line 3 has label 1e\+30; expected an integer"),
        (listed("x"), "all.lst is not a list of images"),
        (written(".lst", "0\t0\t" + "a" * (1 << 17)), "all.lst is not a list of images"),
        (
            indexed(99999999999999),
            "all.idx is not the index of .*all.rec: record 14 ends at byte .*, but the next begins at 99999999999999",
        ),
        (indexed(-8), "all.idx is not an index: expected unique keys, and unique offsets from 0"),
        (indexed(2**64), "all.idx is not an index: expected lines with a key and an offset"),
        (huge_index, "all.idx is not the index of .*all.rec: it is too large for a file of"),
        (record_of(b""), "record 0 of .*all.rec .byte 0. has 0 bytes, less than its header of 24"),
        (record_of(header(0, 1)[:-1]), "has 23 bytes, less than its header of 24"),
        (record_of(header(1, 0)), "has 24 bytes, less than its header of 28"),
        (record_of(header(2**32 - 1, 0)), "has 4294967295 labels; expected one"),
        (record_of(header(0, float("nan"))), "has label nan; expected an integer below 3"),
        (record_of(header(0, float("inf"))), "has label inf; expected an integer below 3"),
        (record_of(header(0, 3)), "has label 3; expected an integer below 3"),
        (record_of(header(1, 0) + struct.pack("<f", -1)), "has label -1; expected an integer below 3"),
        (many_parts, "is not a record: it has 536870912 bytes or more"),
        (cut, "all.rec is truncated, or .*all.idx is the index of another file: record 14 continues past the end"),
        (longer, "all.idx is not the index of .*all.rec: record 14 ends at byte .*, but the file ends at"),
        (empty, "all.rec is truncated"),
        (shifted, "all.idx is not the index of .*all.rec: no record begins at byte 0"),
        (shorter_index, "all.idx is not the index of .*all.rec: record 13 ends at byte .*, but the file ends at"),
        (written(".idx", "a\tb\n"), "all.idx is not an index: expected lines with a key and an offset"),
        (written(".idx", ""), "index .*all.idx is empty"),
        (written(".idx", "0\t8\n"), "all.idx is not an index: expected unique keys"),
        (written(".lst", "0 1 a.jpg\n"), "all.lst is not a list of images"),
        (written(".lst", "0\tinf\ta.jpg\n"), "all.lst line 1 has label inf; expected an integer below 16777216"),
        (written(".lst", "0\t0\ta.jpg\n"), "all.rec .* has label [12]; expected an integer below 1"),
    ],
)
def test_damaged_records_are_refused(packed, damage, message):
    damage(packed)
    with pytest.raises(DatasetError, match=message):
        Records(packed)


def test_records_with_any_byte_changed_are_read_or_refused(packed):
    """In one line, when the file is opened or the record is read."""
    rng = np.random.RandomState(0)
    for file in (packed, packed.with_suffix(".idx"), packed.with_suffix(".lst")):
        whole = file.read_bytes()
        for place in [*range(60), *rng.randint(0, len(whole), 100)]:
            damaged = bytearray(whole)
            damaged[place] ^= rng.randint(1, 256)
            file.write_bytes(damaged)
            try:
                contents(Records(packed))
            except DatasetError as error:
                assert len(str(error).splitlines()) == 1
        file.write_bytes(whole)


def test_a_file_too_large_for_an_image_is_refused(folder):
    file = folder / "class1" / "1.jpg"
    os.truncate(file, 1 << 40)
    images = Folder(folder)
    with pytest.raises(DatasetError, match=f"{file} has 1099511627776 bytes; at most 536870912 are read into memory"):
        contents(images)


def test_missing_files_are_refused(packed, tmp_path):
    with pytest.raises(DatasetError, match="cannot open record file .*none.rec: No such file"):
        Records(tmp_path / "none.rec")
    with pytest.raises(DatasetError, match="cannot read index .*none.idx: No such file"):
        Records(packed, tmp_path / "none.idx")


def test_folders_are_checked(folder):
    with pytest.raises(DatasetError, match="image folder .* does not exist"):
        Folder(folder / "none")
    with pytest.raises(DatasetError, match="class0 has no subfolders"):
        Folder(folder / "class0")
    with pytest.raises(DatasetError, match="class2 is not a class of the training images"):
        Folder(folder, ["class0", "class1"])
    (folder / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty has no images"):
        Folder(folder)


def test_an_image_keeps_its_label_where_a_class_is_missing(folder):
    part = Folder(folder, ["more", "class0", "class1", "class2"])
    assert part.classes == 4 and {label for _, label in contents(part)} == {1, 2, 3}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_are_disjoint_and_complete(packed, workers):
    """What all workers read in an epoch, from the file itself."""
    images, batch = Records(packed), 5 // workers
    samplers = [ShardedSampler(len(images), batch, rank, workers, seed=4) for rank in range(workers)]
    read = [images.read(number) for sampler in samplers for number in sampler]
    assert len(set(read)) == len(read) == samplers[0].batches * batch * workers
    assert len(read) > len(images) - batch * workers
    parts = [validation_part(len(images), rank, workers) for rank in range(workers)]
    assert sorted(images.read(number) for part in parts for number in part) == contents(images)


def test_a_damaged_image_is_named_when_it_is_met(folder, tmp_path):
    file = folder / "class1" / "1.jpg"
    file.write_bytes(b"")
    images = Folder(folder)
    with pytest.raises(DatasetError, match=f"cannot decode {file}: "):
        list(Loader(imagenet_transforms.Views(images, 16), range(len(images)), 4, threads=2))
    file.unlink()
    with pytest.raises(DatasetError, match=f"cannot read {file}: No such file"):
        list(Loader(imagenet_transforms.Views(images, 16), range(len(images)), 4))


def test_the_validation_view_is_the_middle():
    image = np.zeros((100, 60, 3), np.uint8)
    image[35:65, 15:45] = (10, 20, 30)
    view = imagenet_transforms.validation_view(image, 24, 0.8)  # the shorter side becomes 30: 24 pixels are 48 of these
    wanted = (np.float64([10, 20, 30]) - imagenet_transforms.MEAN) / imagenet_transforms.DEVIATION
    assert view.shape == (3, 24, 24) and view.dtype == np.float32
    assert np.allclose(view[:, 8:16, 8:16], wanted[:, None, None], atol=1e-5)
    assert np.allclose(view[:, 0, 0], -imagenet_transforms.MEAN / imagenet_transforms.DEVIATION, atol=1e-5)


def test_training_views_vary_and_repeat(packed):
    batches = imagenet_transforms.Views(Records(packed), 16)
    chosen = [3] * 64
    one, labels = batches(chosen, np.random.RandomState(7))
    again, _ = batches(chosen, np.random.RandomState(7))
    assert one.shape == (64, 3, 16, 16) and len(set(labels)) == 1 and (one == again).all()
    assert len({view.tobytes() for view in one}) == 64
    plain, _ = batches(chosen[:1], None)
    assert abs(np.median(one.mean(axis=(1, 2, 3))) - plain.mean()) < 0.5


def test_colours_are_changed_as_described():
    """The one matrix equals brightness, contrast, saturation and lighting, one after another."""
    image = np.random.RandomState(0).rand(5, 7, 3) * 255
    rng, twin = np.random.RandomState(3), np.random.RandomState(3)
    matrix = imagenet_transforms.random_colours(image.mean(axis=(0, 1)), rng)
    wanted = image
    for change in twin.permutation(3):
        share = 1 + twin.uniform(-imagenet_transforms.JITTER, imagenet_transforms.JITTER)
        grey = wanted @ imagenet_transforms.GREY
        towards = [0.0, grey.mean(), grey[..., None]][change]
        wanted = share * wanted + (1 - share) * towards
    wanted = wanted + imagenet_transforms.AXES @ (
        imagenet_transforms.PRINCIPAL * twin.normal(0, imagenet_transforms.LIGHTING, 3)
    )
    assert np.allclose(
        image @ matrix[:, :3].T + matrix[:, 3], (wanted - imagenet_transforms.MEAN) / imagenet_transforms.DEVIATION
    )


def test_random_parts_lie_in_the_image():
    rng = np.random.RandomState(0)
    for height, width in [(1, 1), (1, 500), (37, 20), (300, 300)]:
        for _ in range(100):
            top, left, rows, columns = imagenet_transforms.random_part(height, width, rng)
            assert rows > 0 and columns > 0 and 0 <= top <= height - rows and 0 <= left <= width - columns


def three(chosen, rng):
    return np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1), np.array([0, 2, 1])


def test_labels_are_smoothed_and_mixed():
    plain, targets = SoftLabels(three, 4)(range(3), None)
    assert (targets == np.eye(4)[[0, 2, 1]]).all()
    _, targets = SoftLabels(three, 4, smoothing=0.1)(range(3), None)
    assert np.allclose(targets.sum(axis=1), 1) and np.allclose(targets[0], [0.925, 0.025, 0.025, 0.025])
    mixing = SoftLabels(three, 4, alpha=0.2)
    images, targets = mixing(range(3), np.random.RandomState(1))
    share = np.random.RandomState(1).beta(0.2, 0.2)
    assert np.allclose(images.ravel(), [2 * (1 - share), 1, 2 * share])
    assert np.allclose(targets[0], [share, 1 - share, 0, 0]) and np.allclose(targets.sum(axis=1), 1)
    mixing.mixes = lambda: False
    assert (mixing(range(3), np.random.RandomState(1))[0] == plain).all()


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_work_is_done_ahead_but_not_far(threads):
    begun = []

    def work(item):
        begun.append(item)
        if item == 50:
            raise DatasetError("item 50")
        return 2 * item

    results = ahead(work, range(100), threads)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(begun) <= 10 + 2 * threads
    with pytest.raises(DatasetError, match="item 50"):
        list(results)


def test_an_image_set_is_a_path_in_the_home_folder(packed, monkeypatch):
    monkeypatch.setenv("HOME", str(packed.parent))
    assert len(Records(Path("~/all.rec"))) == len(Folder(Path("~/images"))) == CLASSES * COUNT
