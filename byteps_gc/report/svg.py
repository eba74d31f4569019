"""A plot as inline SVG for an HTML page, whose points and bars show their values when hovered."""

import io
from typing import Any, List, Sequence
from xml.etree import ElementTree

from byteps_gc.report.plot import Hover, Plot, make
from byteps_gc.report.rows import Row

SIZE = (7, 4.6)  # inches of 72 units
REACH = 7  # radius around a point, in units, in which it is hovered


def inline(rows: Sequence[Row], name: str, plot: Plot) -> str:
    """Return a plot as an <svg> element; ``name`` makes its ids unique within a page."""
    import matplotlib
    from matplotlib import pyplot

    figure, hover = make(rows, plot, SIZE)
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05)
    pyplot.close(figure)
    root = ElementTree.fromstring(stream.getvalue())
    strip(root)
    add_hover(root, hover)
    prefix_ids(root, name)
    return ElementTree.tostring(root, encoding="unicode")


def strip(root: Any) -> None:
    """Remove what a page must not inherit: namespaces, metadata, style sheets, the size and the text's fonts."""
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        for name in list(parent.attrib):
            parent.set(name.rpartition("}")[2], parent.attrib.pop(name))
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)


def add_hover(root: Any, hover: Hover) -> None:
    """Give each point and bar its text as <title>, which browsers show as a tooltip."""
    for group in [one for one in root.iter("g") if one.get("id") in hover]:
        texts = hover[group.get("id")]
        points = list(group.iter("use"))
        if not points:
            mark(group, texts[0])
            continue
        if len(points) != len(texts):
            raise RuntimeError(f"matplotlib drew {len(points)} of {len(texts)} points")
        group.set("class", "series")
        parents = {child: parent for parent in group.iter() for child in parent}
        for use, text in zip(points, texts):
            wrap(parents[use], use, text)


def wrap(parent: Any, use: Any, text: str) -> None:
    """Put a point into a group with its text and a larger, invisible area to hover."""
    group = ElementTree.Element("g")
    parent[list(parent).index(use)] = group
    area = {"class": "area", "cx": use.get("x"), "cy": use.get("y"), "r": str(REACH)}
    group.extend([use, ElementTree.Element("circle", area)])
    mark(group, text)


def mark(group: Any, text: str) -> None:
    """Make a group a point of the plot that shows a text."""
    group.set("class", "point")
    title = ElementTree.Element("title")
    title.text = text
    group.insert(0, title)


def prefix_ids(root: Any, name: str) -> None:
    """Prefix all ids and all references to them."""
    names: List[str] = [one.get("id") for one in root.iter() if one.get("id")]
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif value.startswith("#") and value[1:] in names:
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[len('url(#') :]}")
