"""``python -m byteps_gc pack`` on odd names, links, images and disks: a right result or an error of one line."""

import os
from pathlib import Path
import signal
import struct
import sys
import zlib

from byteps_gc.data import folder as folders
from byteps_gc.data import imagenet_transforms, packing
from byteps_gc.data.names import shown
from byteps_gc.data.records import LIMIT, Records
from byteps_gc.errors import DatasetError
import cv2
import numpy as np
import pytest

# the locale of the tests; C, which Python takes for UTF-8; and C as plain ASCII
LOCALES = [{}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}]
in_every_locale = pytest.mark.parametrize("env", LOCALES, ids=["", "C", "ascii"])
LATIN = os.fsdecode("caf\xe9".encode("latin-1"))  # a name that is not UTF-8


def draw(file, height=20, width=30):
    """Write an image of noise that differs from file to file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(zlib.crc32(os.fsencode(file)))
    encoded = cv2.imencode(".png", rng.randint(0, 256, (height, width, 3)).astype(np.uint8))[1]
    file.write_bytes(encoded.tobytes())


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images."""
    for name in ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"):
        draw(tmp_path / "images" / name)
    return tmp_path / "images"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def pack(commands, folder, out):
    """Packs the folder to out/set."""

    def run(*options, **env):
        return commands.python("-m", "byteps_gc", "pack", folder, out / "set", *options, timeout=60, **env)

    return run


@pytest.fixture
def rejects(pack, out):
    """Asserts that the folder is rejected in one line with these texts, and that nothing is left behind."""

    def check(*texts, options=(), **env):
        before = {file: file.read_bytes() for file in out.iterdir()}
        result = pack(*options, **env)
        assert (result.status, result.output.count("\n")) == (2, 1), result.output
        assert result.output.startswith("byteps_gc: ") and all(text in result.output for text in texts), result.output
        assert {file: file.read_bytes() for file in out.iterdir()} == before

    return check


def assert_packed(prefix, folder, paths):
    """Every image is read back, with its label and its path."""
    records = Records(Path(f"{prefix}.rec"))
    lines = [line.split(b"\t") for line in Path(f"{prefix}.lst").read_bytes().splitlines()]
    classes = sorted({os.fsencode(path).split(b"/")[0] for path in paths})
    assert sorted(path for _, _, path in lines) == sorted(map(os.fsencode, paths))
    assert (len(records), records.classes) == (len(lines), len(classes))
    for number, (key, label, path) in enumerate(lines):
        content, read = records.read(number)
        assert (int(key), int(label), classes[read]) == (number, read, path.split(b"/")[0])
        assert content == (folder / os.fsdecode(path)).read_bytes()


BASIC = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]


@in_every_locale
def test_names_of_any_encoding_are_packed(pack, folder, out, env):
    names = [f"cat/{LATIN}.png", f"{LATIN}/1.png", "\u65e5\u672c/\xe9.png", "\U0001f600/ a b.PNG"]
    for name in names:
        draw(folder / name)
    result = pack(**env)
    assert (result.status, result.output) == (0, f"{out}/set.rec: 8 images of 5 classes\n")
    assert_packed(out / "set", folder, BASIC + names)


@in_every_locale
@pytest.mark.parametrize("name", ["\xe9", LATIN, "a\nb"])
def test_the_files_may_have_any_name(commands, folder, out, env, name):
    prefix = out / f"place{name}" / name
    result = commands.python("-m", "byteps_gc", "pack", folder, prefix, **env)
    assert (result.status, result.output.count("\n")) == (0, 1), result.output
    assert result.output.endswith(".rec: 4 images of 2 classes\n")
    assert_packed(prefix, folder, BASIC)
    again = commands.python("-m", "byteps_gc", "pack", folder, prefix, **env)
    assert (again.status, again.output.count("\n")) == (2, 1) and again.output.endswith(".rec already exists\n")


def test_names_are_shown_in_one_line():
    assert shown(Path(f"{LATIN}/\xe9 b\n\t\x1b.png")) == "caf\\xe9/\xe9 b\\n\\t\\x1b.png"


@in_every_locale
@pytest.mark.parametrize("name", ["cat/a\nb.png", "cat/a\rb.png", "cat/a\tb.png", "a\nb/2.png", f"cat/a\n{LATIN}.png"])
def test_tabs_and_line_ends_in_names_are_rejected(rejects, folder, env, name):
    draw(folder / name)
    rejects(f"{folder}/{shown(name)} has a tab or line break in its name", **env)


@in_every_locale
def test_a_damaged_image_with_an_odd_name_is_named(rejects, folder, env):
    (folder / "cat" / f"{LATIN}.png").write_bytes(b"no image")
    rejects("cannot decode ", "cat/caf\\xe9.png: it is not a valid image", **env)


def png(width, height):
    """A PNG file of this size with pixels for much less."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("options", [(), ("--resize", 16)])
@pytest.mark.parametrize("content", [b"", b"no image", png(70000, 70000)], ids=["empty", "text", "huge"])
def test_what_cannot_be_decoded_is_rejected(rejects, folder, options, content):
    (folder / "cat" / "2.png").write_bytes(content)
    rejects(f"{folder}/cat/2.png: ", "cannot decode ", options=options)


def test_a_truncated_image_is_rejected(pack, folder, out):
    """Ours is the last line; OpenCV may print warnings before it."""
    file = folder / "cat" / "1.png"
    file.write_bytes(file.read_bytes()[:300])
    result = pack()
    assert (result.status, list(out.iterdir())) == (2, [])
    assert result.output.splitlines()[-1] == f"byteps_gc: cannot decode {file}: it is not a valid image"


@in_every_locale
@pytest.mark.parametrize("height, width", [(1, 656), (656, 1)])
def test_an_image_too_long_for_jpeg_is_rejected(rejects, folder, env, height, width):
    draw(folder / "dog" / "long.png", height, width)
    limit = "JPEG allows at most 65500 per side"
    rejects(f"{folder}/dog/long.png would have ", " 65600 ", limit, options=("--resize", 100), **env)


def test_an_image_of_too_many_pixels_is_rejected(rejects, folder):
    rejects(
        f"{folder}/",
        ".png would have 60000 x 40000 pixels",
        "OpenCV at most 1073741824 per image",
        options=("--resize", 40000),
    )


def test_a_long_image_that_jpeg_holds_is_packed(pack, folder, out):
    draw(folder / "dog" / "long.png", 1, 655)
    assert pack("--resize", 100).status == 0
    records = Records(out / "set.rec")
    images = [
        (imagenet_transforms.decode(content, ""), label) for content, label in map(records.read, range(len(records)))
    ]
    assert sorted((image.shape, label) for image, label in images)[-1] == ((100, 65500, 3), 1)


@pytest.mark.parametrize("quality", [1, 100])
def test_the_lowest_and_the_highest_quality(pack, out, quality):
    assert pack("--resize", 10, "--quality", quality).status == 0
    records = Records(out / "set.rec")
    assert all(imagenet_transforms.decode(records.read(number)[0], "").shape[0] == 10 for number in range(4))


def test_an_image_too_large_for_a_record_is_rejected(rejects, folder):
    os.truncate(folder / "dog" / "1.png", LIMIT - 24)
    rejects(f"{folder}/dog/1.png has {LIMIT - 24} bytes; a record holds less than 512 MiB")


def test_an_image_that_just_fits_into_a_record(folder, monkeypatch):
    content = (folder / "dog" / "1.png").read_bytes()
    monkeypatch.setattr(packing, "LIMIT", len(content) + 25)
    assert packing.encoded(content, "", None, 95) == content
    with pytest.raises(DatasetError, match="a record holds less"):
        packing.encoded(content + b"\0", "", None, 95)


@in_every_locale
def test_links_are_followed(pack, folder, out, tmp_path, env):
    draw(tmp_path / "elsewhere" / "sub" / "2.png")
    draw(tmp_path / "elsewhere" / "sub" / f"{LATIN}.png")
    (folder / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "cat" / "again").symlink_to(Path("more", "sub"))
    (folder / "linked").symlink_to(tmp_path / "elsewhere" / "sub")
    (folder / "dog" / "link.png").symlink_to(Path("..", "cat", "0.png"))
    result = pack(**env)
    assert (result.status, result.output) == (0, f"{out}/set.rec: 11 images of 3 classes\n")
    more = [f"{place}/{name}.png" for place in ("cat/more/sub", "cat/again", "linked") for name in ("2", LATIN)]
    assert_packed(out / "set", folder, BASIC + more + ["dog/link.png"])


@pytest.mark.parametrize("target", [".", "..", "/", "sub", "sub/deep"])
def test_links_in_a_circle_are_rejected(rejects, folder, target):
    link = folder / "cat" / "sub" / "deep" / "loop"
    link.parent.mkdir(parents=True)
    link.symlink_to(target if target[0] in "./" else folder / "cat" / target)
    rejects(f"{link} is a symbolic link to a folder that contains it")


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_a_class_that_contains_itself_is_rejected(rejects, folder, target):
    (folder / "loop").symlink_to(target)
    rejects(f"{folder}/loop is a symbolic link to a folder that contains it")


def test_links_of_two_folders_to_each_other_are_rejected(rejects, folder):
    (folder / "cat" / "dogs").symlink_to(Path("..", "dog"))
    (folder / "dog" / "cats").symlink_to(Path("..", "cat"))
    rejects(f"{folder}/cat/dogs/cats is a symbolic link to a folder that contains it")


@in_every_locale
@pytest.mark.parametrize("name", ["cat/2.png", "cat/folder", "class", f"{LATIN}"])
def test_broken_links_are_rejected(rejects, folder, env, name):
    """Their target may be a folder of images."""
    (folder / name).symlink_to("missing")
    rejects(f"{folder}/{shown(name)} is a broken symbolic link: No such file or directory", **env)


def test_a_link_to_itself_is_rejected(rejects, folder):
    (folder / "cat" / "2.png").symlink_to("2.png")
    rejects(f"{folder}/cat/2.png is a broken symbolic link: Too many levels of symbolic links")


def test_a_pipe_is_rejected(rejects, folder):
    os.mkfifo(folder / "cat" / "2.png")
    rejects(f"{folder}/cat/2.png is not a regular file")


def test_a_folder_that_cannot_be_read_is_rejected(folder):
    with pytest.raises(DatasetError, match="cannot read .*cat/0.png: Not a directory"):
        folders.entries(folder / "cat" / "0.png")


@pytest.mark.parametrize("suffix", [".rec", ".idx", ".lst"])
def test_existing_files_are_kept(rejects, out, suffix):
    (out / f"set{suffix}").write_bytes(b"precious")
    rejects(f"{out}/set{suffix} already exists")


def test_a_full_disk_is_one_line_and_leaves_nothing(commands, folder, out):
    """The images fit into a buffer, so that the error comes when the file is closed."""
    limited = ("bash", "-c", 'ulimit -f 2; exec "$@"', "bash", sys.executable, "-m", "byteps_gc", "pack")
    for file in sorted(folder.rglob("*.png"))[1:]:
        draw(file, 4, 4)
    result = commands.run(*limited, folder, out / "set", PYTHONDONTWRITEBYTECODE="1")
    assert (result.status, result.output) == (2, f"byteps_gc: cannot write {out}/set: File too large\n")
    assert list(out.iterdir()) == []


def test_an_output_folder_that_is_a_file_is_rejected(commands, folder, out):
    (out / "file").write_bytes(b"")
    for prefix in (out / "file" / "set", out / "file" / "sub" / "set"):
        result = commands.python("-m", "byteps_gc", "pack", folder, prefix)
        assert (result.status, result.output) == (2, f"byteps_gc: cannot write {prefix}: Not a directory\n")


def test_a_name_too_long_for_the_disk_is_rejected(commands, folder, out):
    prefix = out / ("a" * 252)
    result = commands.python("-m", "byteps_gc", "pack", folder, prefix)
    assert (result.status, result.output) == (2, f"byteps_gc: cannot write {prefix}: File name too long\n")


@pytest.mark.parametrize("prefix", ["", ".", "..", "/"])
def test_a_prefix_without_a_name_is_rejected(folder, prefix):
    with pytest.raises(DatasetError, match="PREFIX .* is a folder; add a file name"):
        packing.pack(folder, Path(prefix))


def test_no_part_is_left_when_the_next_one_fails(folder, out, monkeypatch):
    def write_train_only(images, paths, order, part, encode, write=packing.write):
        if part.name == "set_val":
            raise OSError(28, "No space left on device")
        write(images, paths, order, part, encode)

    monkeypatch.setattr(packing, "write", write_train_only)
    with pytest.raises(DatasetError, match="cannot write .*/out/set: No space left on device"):
        packing.pack(folder, out / "set", val_share=0.5)
    assert list(out.iterdir()) == []


def test_a_file_that_appears_while_packing_is_kept(folder, out, monkeypatch):
    def encode(content, *_):
        (out / "set.rec").write_bytes(b"precious")
        return content

    monkeypatch.setattr(packing, "encoded", encode)
    with pytest.raises(DatasetError, match="set.rec already exists"):
        packing.pack(folder, out / "set")
    assert [file.read_bytes() for file in out.iterdir()] == [b"precious"]


SLOW = """
import os, sys, time
from byteps_gc import cli
from byteps_gc.data import packing
def encode(content, *_):
    os.write(1, b"packing\\n")
    time.sleep(0.1)  # it has not packed all when it is stopped
    return content
packing.encoded = encode
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_packing_that_is_stopped_leaves_nothing(commands, folder, out, number, status):
    for image in range(100):
        draw(folder / "cat" / f"{image}.png")
    child = commands.start(sys.executable, "-c", SLOW, "pack", folder, out / "set")
    assert child.stdout.readline() == "packing\n"
    child.send_signal(number)
    child.communicate(timeout=60)
    assert child.returncode == status and list(out.iterdir()) == []
