"""docs/adding_a_compressor.md shows what stands in the repository."""

import re

import pytest

from conftest import ROOT

PAGE = (ROOT / "docs" / "adding_a_compressor.md").read_text()
NAMED = r"`((?:byteps_gc|tests|scripts|docs)/[\w./]+)`"


def blocks():
    """The page's blocks of code, each with the file that the text before it names."""
    found, before = [], 0
    for block in re.finditer(r"^```\S+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        names = re.findall(NAMED, PAGE[before : block.start()])
        found.append((names[-1] if names else found[-1][0], block.group(1)))
        before = block.end()
    return found


def test_the_page_has_a_definition_native_code_and_laws():
    files = [file for file, _ in blocks()]
    assert files == ["byteps_gc/compressors/int8.py", "byteps_gc/native/src/int8.cc", "tests/laws.py", "tests/laws.py"]


@pytest.mark.parametrize("file, code", blocks())
def test_the_code_is_that_of_the_file(file, code):
    text = (ROOT / file).read_text()
    if "int8" in file:
        assert code == text
    else:
        assert [part for part in code.split("    ...,\n") if f"\n{part}" not in text] == []


def test_the_paragraph_is_that_of_the_wire_format():
    (quoted,) = re.findall(r"(?:^> .*\n)+", PAGE, re.MULTILINE)
    paragraph = re.sub(r"^> ", "", quoted, flags=re.MULTILINE)
    assert f"\n\n{paragraph}\n" in (ROOT / "docs" / "wire_format.md").read_text()


def test_the_files_exist():
    commands = re.findall(r"^    .*", PAGE, re.MULTILINE)
    words = {word for line in commands for word in line.split() if re.match(r"(\./)?(tests|scripts)/", word)}
    links = {link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE)}
    assert words and links
    assert [name for name in words if not (ROOT / name).exists()] == []
    assert [name for name in links if not (ROOT / "docs" / name).exists()] == []
