"""Building blocks of the plots: elements, escaped by the serialiser, and pictures that can be read aloud.

Looks are presentation attributes, never `style`, which the page's Content-Security-Policy forbids. Text and axes have
the colour of the text around them (`currentColor`), so that a plot stands on any background.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Node: TypeAlias = Element
Attribute: TypeAlias = str | float | None
Point: TypeAlias = tuple[float, float]

FONT = "system-ui, Segoe UI, Helvetica Neue, Arial, sans-serif"
TEXT, SMALL = 13.0, 12.0
"""Sizes of text, in pixels at natural size; nothing is smaller than `SMALL`."""
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[a-z][a-z0-9_-]*")


def node(tag: str, *parts: Node | str | None, **attributes: Attribute) -> Node:
    """An element with text and children; `_` in an attribute's name stands for `-`, and what is None is left out."""
    made = Element(tag, {key.replace("_", "-"): _text(value) for key, value in attributes.items() if value is not None})
    made.text = "".join(clean(part) for part in parts if isinstance(part, str)) or None
    made.extend(part for part in parts if isinstance(part, Element))
    return made


def group(*children: Node | None, **attributes: Attribute) -> Node:
    """Several elements that share attributes."""
    return node("g", *children, **attributes)


def line(start: Point, end: Point, **attributes: Attribute) -> Node:
    """A straight line."""
    attributes.setdefault("stroke", "currentColor")
    return node("line", x1=start[0], y1=start[1], x2=end[0], y2=end[1], **attributes)


def words(at: Point, content: str, *, anchor: str = "start", size: float = SMALL, **attributes: Attribute) -> Node:
    """Text whose baseline is at `at`; `anchor` is "start", "middle" or "end"."""
    attributes.setdefault("fill", "currentColor")
    return node("text", content, x=at[0], y=at[1], text_anchor=anchor, font_size=size, **attributes)


def path(points: Iterable[Point], *, is_closed: bool = False, **attributes: Attribute) -> Node:
    """Straight lines from point to point."""
    steps = " ".join(f"{'L' if place else 'M'}{_text(x)} {_text(y)}" for place, (x, y) in enumerate(points))
    return node("path", d=steps + " Z" * is_closed, **attributes)


def picture(name: str, title: str, description: str, size: Point, *children: Node | None) -> str:
    """A whole picture, with title and description for those who do not see it.

    Args:
        name: part of the ids of title and description: unique on a page, of lower-case letters, digits, `_` and `-`.
        title: what is shown.
        description: what there is to see, in words and numbers.
        size: width and height in pixels.
        *children: what is drawn.

    Raises:
        ValueError: the name is no such name.
    """
    if not _NAME.fullmatch(name):
        msg = f"Expected a name of lower-case letters, digits, _ and -, got {name!r}."
        raise ValueError(msg)
    width, height = (round(side) for side in size)
    whole = node(
        "svg",
        node("title", title, id=f"{name}-title"),
        node("desc", description, id=f"{name}-desc"),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        font_family=FONT,
    )
    return tostring(whole, encoding="unicode")


def clean(text: str) -> str:
    """The text without what XML cannot hold, not even escaped: most control characters, and halves of pairs."""
    return _ILLEGAL.sub("\ufffd", text)


def width_of(text: str, size: float = SMALL) -> float:
    """About how wide a text is, in pixels; rather too wide, since nobody here knows the font."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return size * (0.58 * (len(text) - wide) + 1.05 * wide)


def fitted(text: str, width: float, size: float = SMALL) -> str:
    """The text, or its beginning and end around an ellipsis, within a width in pixels."""
    if width_of(text, size) <= width + 0.01:
        return text
    kept = len(text)
    while kept and width_of(_shortened(text, kept), size) > width:
        kept -= 1
    return _shortened(text, kept)


def _shortened(text: str, kept: int) -> str:
    # The end too, since names that begin alike often differ there.
    head, tail = (kept + 1) // 2, kept // 2
    return text[:head].rstrip() + "…" + text[len(text) - tail :].lstrip()


def _text(value: str | float) -> str:
    return clean(value) if isinstance(value, str) else f"{float(value):.2f}".rstrip("0").rstrip(".")
