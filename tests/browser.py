"""Pages as headless Chromium renders them."""

from html.parser import HTMLParser
from pathlib import Path
import re
from xml.etree import ElementTree

VOID = {"meta", "link", "br", "img", "input"}
# root may use Chromium only without its sandbox; the pages are our own
CHROMIUM = "chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr".split()
LOADING = ("src", "srcset", "href", "xlink:href", "data", "action", "poster")


class Tree(HTMLParser):
    """Builds an element tree from what Chromium prints."""

    def __init__(self, text):
        super().__init__()
        self.builder = ElementTree.TreeBuilder()
        self.feed(text.partition("<html")[1] + text.partition("<html")[2])
        self.root = self.builder.close()

    def handle_starttag(self, tag, attrs):
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)

    def handle_endtag(self, tag):
        self.builder.end(tag)

    def handle_data(self, data):
        self.builder.data(data)


def chromium(commands, *words):
    """Run Chromium; returns what it prints, and the console's messages."""
    profile, log = commands.folder / "profile", commands.folder / "console.log"
    command = [*CHROMIUM, f"--user-data-dir={profile}", *words]
    script = 'log=$1; shift; exec "$@" 2>"$log"'
    result = commands.run("bash", "-c", script, "-", log, *command, timeout=90, HOME=str(commands.folder))
    errors = log.read_text(errors="replace")
    assert result.status == 0, errors
    return result.output, [line for line in errors.splitlines() if ":CONSOLE" in line]


def opened(commands, page):
    """Return the rendered page as an element tree; a message on the console fails the test."""
    text, messages = chromium(commands, "--dump-dom", Path(page).as_uri())
    assert messages == []
    return Tree(text).root


def loaded(root):
    """Return all addresses in the page from which a browser would load something."""
    given = [one.get(name) for one in root.iter() for name in LOADING if one.get(name)]
    styles = "".join(style.text for style in root.iter("style"))
    inside_page = ("#", "data:")
    return [one for one in given if not one.startswith(inside_page)] + re.findall(r"@import.*|url\(.*", styles)


def picture(commands, page, width=1200, height=1500):
    """Return the page as an image (height, width, 4), from 0 to 1."""
    from matplotlib import image

    file = commands.folder / "page.png"
    chromium(commands, f"--window-size={width},{height}", f"--screenshot={file}", Path(page).as_uri())
    return image.imread(str(file))


def text(element):
    """Return an element's text."""
    return "".join(element.itertext())


def inside(root, name):
    """Return the element with an id."""
    return next(one for one in root.iter() if one.get("id") == name)


def rows(table):
    """Return a table's body as texts."""
    return [[text(one) for one in row if one.tag in ("th", "td")] for row in table.find("tbody").iter("tr")]
