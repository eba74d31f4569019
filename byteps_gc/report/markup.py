"""Pieces of an HTML page; every text is escaped unless a parameter says that it is HTML."""

from html import escape
from typing import Iterable, Sequence, Tuple


def element(tag: str, inner: str, **attributes: str) -> str:
    """Return an element; ``inner`` is HTML, and an attribute's trailing underscore is dropped."""
    given = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{given}>{inner}</{tag}>"


def section(title: str, inner: str) -> str:
    """Return a section with its heading; ``inner`` is HTML."""
    return element("section", element("h2", escape(title)) + inner, id=title.lower().replace(" ", "-"))


def details(summary: str, inner: str, is_open: bool = False) -> str:
    """Return a part that a click opens; ``inner`` is HTML."""
    begin = "<details open>" if is_open else "<details>"
    return f"{begin}{element('summary', escape(summary))}{inner}</details>"


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return element("p", escape(text))


def lines(texts: Iterable[str]) -> str:
    """Return lines of a log."""
    return element("pre", escape("\n".join(texts)))


def cell(text: str) -> str:
    """Return a table cell; a range in parentheses after a number is small."""
    value, begin, spread = text.partition(" (")
    if begin and value[:1].isdigit():
        return element("td", f"{escape(value)} {element('small', escape(f'({spread}'))}")
    return element("td", escape(text))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first ``words`` columns hold text, all others numbers."""
    head = element("tr", "".join(element("th", escape(title), scope="col") for title in titles))
    body = "".join(
        element("tr", element("th", escape(row[0]), scope="row") + "".join(map(cell, row[1:]))) for row in rows
    )
    kind = "numbers" if words == 1 else "words"
    inner = element("table", element("thead", head) + element("tbody", body), class_=kind)
    return element("div", inner, class_="wide")


def pairs(values: Iterable[Tuple[str, str]]) -> str:
    """Return names with their values."""
    return element("dl", "".join(element("dt", escape(name)) + element("dd", escape(text)) for name, text in values))
