"""The fix-ups of BytePS's source: their files, and their effect on the real source release."""

from pathlib import Path
import shutil
import subprocess
import sys

from byteps_gc import env
from byteps_gc.engine import fixups, source
from byteps_gc.errors import EngineError
import pytest

ROOT = Path(__file__).parent.parent
HEAD = "Description: x is not set.\n"
PLACE = "one.fix:3: "
STALE = "; this is not the source release that the fix-ups were written for"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The unpacked source release."""
    return source.unpack(source.fetch(env.cache_folder() / "engine"), tmp_path_factory.mktemp("release"))


@pytest.fixture
def tree(release, tmp_path):
    """A copy of those of the release's files that fix-ups change."""
    for fixup in fixups.select():
        for path in [one.path for one in fixup.edits] + [path for path, _ in fixup.files]:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            if (release / path).is_file():
                shutil.copy(str(release / path), str(tmp_path / path))
    return tmp_path


@pytest.fixture
def read(tmp_path):
    """Writes a fix-up's file ``one.fix``, and reads it."""

    def read_text(text):
        (tmp_path / "one.fix").write_text(text)
        return fixups.read(tmp_path / "one.fix")

    return read_text


def edit(find, put, header="Edit: a.cc"):
    """The file of a fix-up that has one edit."""
    return f"{HEAD}\n{header}\n<<<<\n{find}====\n{put}>>>>\n"


def contents(tree):
    return {file.relative_to(tree): file.read_bytes() for file in tree.rglob("*") if file.is_file()}


def test_all_fixups_apply_in_any_order(release, tmp_path):
    tree = Path(shutil.copytree(str(release), str(tmp_path / "tree")))
    fixups.apply(tree, fixups.select())
    for fixup in fixups.select():
        for one in fixup.edits:
            assert one.put in (tree / one.path).read_text()
        for path, name in fixup.files:
            assert (tree / path).read_bytes() == (fixups.FILES / name).read_bytes()
    backwards = Path(shutil.copytree(str(release), str(tmp_path / "backwards")))
    fixups.apply(backwards, reversed(fixups.select()))
    assert contents(backwards) == contents(tree)


@pytest.mark.parametrize("name", fixups.names())
def test_every_fixup_applies_alone_and_says_why(tree, name):
    (fixup,) = fixups.select(set(fixups.names()) - {name})
    fixup.apply(tree)
    problem, cure = fixup.description.split(". The fix-up ")
    assert len(problem) > 40 and cure.endswith(".")
    assert not fixup.bug or fixup.bug.startswith("bytedance/byteps#")


def test_an_unknown_fixup_cannot_be_left_out():
    assert "key-hash" not in [one.name for one in fixups.select(["key-hash"])]
    with pytest.raises(EngineError, match="unknown fix-up later; known: announced-tensors, answered-requests"):
        fixups.select(["later"])


def test_the_documented_example_is_a_fixup():
    example = (fixups.FOLDER / "ready-count.fix").read_text()
    indented = "".join("    " + line if line.strip() else line for line in example.splitlines(True))
    assert indented in (ROOT / "docs" / "engine.md").read_text()


def test_a_file_is_read_whole(read):
    fixup = read(
        "Description: x is\n  not set. The fix-up\n    sets it.\nBug: bytedance/byteps#1\n"
        "File: byteps/a.cc from server.cc\nFile: byteps/b.h from server.h\n\n"
        "Edit: c.cc\n<<<<\n  a;\n\n====\n>>>>\n\nEdit: d.cc (12 times)\n<<<<\nb;\n====\n\n  c;\n>>>>\n"
    )
    assert fixup == fixups.Fixup(
        "one",
        "x is not set. The fix-up sets it.",
        "bytedance/byteps#1",
        (("byteps/a.cc", "server.cc"), ("byteps/b.h", "server.h")),
        (
            fixups.Edit("c.cc", "  a;\n\n", "", 1, "one.fix:8"),
            fixups.Edit("d.cc", "b;\n", "\n  c;\n", 12, "one.fix:15"),
        ),
    )


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "1: the file has no Description"),
        ("File: a.cc from server.cc\n", "1: the file has no Description"),
        (HEAD, "1: the file has neither a File nor an Edit"),
        (HEAD + "Bugs: a/b#1\n", "2: expected Description, Bug, File, Edit or an empty line, found 'Bugs: a/b#1'"),
        ("  x\n" + HEAD, "1: expected Description, Bug, File, Edit or an empty line, found '  x'"),
        ("Description:\n", "1: expected Description: TEXT, found 'Description:'"),
        (HEAD + HEAD, "2: Description occurs twice"),
        (HEAD + "Bug: 17\n", "2: expected Bug: OWNER/REPOSITORY#NUMBER, found 'Bug: 17'"),
        (HEAD + "Bug: a/b#1\nBug: a/b#2\n", "3: Bug occurs twice"),
        (HEAD + "File: a.cc <- server.cc\n", "2: expected File: PATH from NAME, found 'File: a.cc <- server.cc'"),
        (HEAD + "File: a.cc from none.cc\n", "2: engine/files has no file none.cc"),
        (edit("a\n", "b\n") + "Bug: a/b#1\n", "9: Bug must precede the first Edit"),
        (
            edit("a\n", "b\n", "Edit: a.cc (1 times)"),
            "3: expected Edit: PATH, or Edit: PATH (N times) with N >= 2, found 'Edit: a.cc (1 times)'",
        ),
        (HEAD + "Edit: a.cc\n", "2: the file ends before <<<<"),
        (HEAD + "Edit: a.cc\n\n<<<<\n", "3: expected <<<<, found ''"),
        (HEAD + "Edit: a.cc\n<<<<\na\n", "4: the file ends before ===="),
        (HEAD + "Edit: a.cc\n<<<<\na\n====\nb\n>>>> \n", "7: the file ends before >>>>"),
        (HEAD + "Edit: a.cc\n<<<<\na\n>>>>\n", "5: expected ====, found '>>>>'"),
        (HEAD + "Edit: a.cc\n<<<<\na\n====\nb\n<<<<\n", "7: expected >>>>, found '<<<<'"),
        (edit("", "b\n"), "5: no lines to find between <<<< and ===="),
        (edit("  \n", "b\n"), "6: no lines to find between <<<< and ===="),
        (edit("a\n", "a\n"), "8: the edit changes nothing"),
    ],
)
def test_a_malformed_file_is_one_line(read, text, error):
    with pytest.raises(EngineError) as raised:
        read(text)
    assert str(raised.value) == "one.fix:" + error


@pytest.mark.parametrize(
    "header, find, put, result",
    [
        ("Edit: a.cc", "  b;\n", '  c("\\n\\1");\n', '  a;\n  c("\\n\\1");\n  a;\n  a;\n'),
        ("Edit: a.cc", "  a;\n  b;\n", "", "  a;\n  a;\n"),
        ("Edit: a.cc (3 times)", "  a;\n", "  d;\n", "  d;\n  b;\n  d;\n  d;\n"),
    ],
)
def test_an_edit_replaces_whole_lines(read, tmp_path, header, find, put, result):
    (tmp_path / "a.cc").write_text("  a;\n  b;\n  a;\n  a;\n")
    read(edit(find, put, header)).apply(tmp_path)
    assert (tmp_path / "a.cc").read_text() == result


@pytest.mark.parametrize(
    "header, find, error",
    [
        ("Edit: a.cc", "  c;\n", "found the lines at 'c;' 0 times instead of once in a.cc" + STALE),
        ("Edit: a.cc", "a;\n", "found the lines at 'a;' 0 times instead of once in a.cc" + STALE),
        ("Edit: a.cc", "\n  b\n", "found the lines at 'b' 0 times instead of once in a.cc" + STALE),
        ("Edit: a.cc", "  a;\n", "found the lines at 'a;' 2 times instead of once in a.cc" + STALE),
        ("Edit: a.cc (3 times)", "  a;\n", "found the lines at 'a;' 2 times instead of 3 times in a.cc" + STALE),
        ("Edit: b.cc", "  a;\n", "b.cc does not exist in the source"),
    ],
)
def test_lines_that_are_not_in_the_source_stop_the_build(read, tmp_path, header, find, error):
    (tmp_path / "a.cc").write_text("  a;\n  b;\n  a;\n")
    fixup = read(edit(find, "  d;\n", header))
    with pytest.raises(EngineError) as raised:
        fixup.apply(tmp_path)
    assert str(raised.value) == PLACE + error
    assert (tmp_path / "a.cc").read_text() == "  a;\n  b;\n  a;\n"


def test_a_second_application_stops(tree):
    """What is fixed is not found again."""
    fixup = fixups.select()[0]
    fixup.apply(tree)
    with pytest.raises(EngineError, match="0 times instead of once"):
        fixup.apply(tree)


def test_packages_contain_every_source(tmp_path):
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(build, cwd=str(ROOT), check=True, timeout=120)
    folder = ROOT / "byteps_gc" / "engine"
    files = {path.relative_to(ROOT) for path in folder.rglob("*") if path.suffix in (".py", ".cc", ".h", ".fix")}
    assert len(files) > 50
    assert files == {path.relative_to(tmp_path) for path in (tmp_path / "byteps_gc" / "engine").rglob("*.*")}
