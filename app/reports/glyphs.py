"""Which characters the fonts have, and what stands for those they lack.

A character without a glyph would be an empty box that tells nobody which one it was; `[U+0E01]` can be looked up.
"""

import re
import struct
import unicodedata
from pathlib import Path

_BEYOND_LATIN = re.compile("[^\t\n\r\x20-\u024f]")
UNSEEN = frozenset({"Cf", "Zs", "Zl", "Zp"})
"""Categories that need no glyph: joiners and spaces."""
REORDERING = frozenset(map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))
"""Controls that change the order in which text is shown, and so what a reader takes it for."""


def spelt_out(text: str, fonts: Path) -> str:
    """The text with every character for which no font in the folder has a glyph as its code point."""
    letters = {letter for letter in _BEYOND_LATIN.findall(text) if unicodedata.category(letter) not in UNSEEN}
    for font in sorted(fonts.glob("*.ttf"), key=_size):
        if letters:
            letters -= set(map(chr, code_points(font.read_bytes())))
    return text.translate({ord(letter): code_point(letter) for letter in letters})


def in_plain_order(text: str) -> str:
    """The text with controls that would reorder it as code points, so that what is read is what was written."""
    return "".join(code_point(letter) if letter in REORDERING else letter for letter in text)


def code_point(letter: str) -> str:
    """The name of a character that cannot be shown, such as `[U+202E]`."""
    return f"[U+{ord(letter):04X}]"


def code_points(font: bytes) -> set[int]:
    """What a font's `cmap` maps to a glyph (OpenType 1.9, formats 4 and 12)."""
    (num_tables,) = struct.unpack_from(">H", font, 4)
    tables = {
        font[at : at + 4]: struct.unpack_from(">L", font, at + 8)[0] for at in range(12, 12 + 16 * num_tables, 16)
    }
    cmap = tables[b"cmap"]
    (num_maps,) = struct.unpack_from(">H", font, cmap + 2)
    found: set[int] = set()
    for place in range(num_maps):
        start = cmap + struct.unpack_from(">L", font, cmap + 4 + 8 * place + 4)[0]
        (kind,) = struct.unpack_from(">H", font, start)
        if kind == 12:
            found |= _format_12(font, start)
        elif kind == 4:
            found |= _format_4(font, start)
    return found


def _size(path: Path) -> int:
    """Small fonts first: they are read faster, and have what most reports need."""
    return path.stat().st_size


def _format_12(font: bytes, start: int) -> set[int]:
    (num_groups,) = struct.unpack_from(">L", font, start + 12)
    groups = struct.iter_unpack(">LLL", font[start + 16 : start + 16 + 12 * num_groups])
    return {code for first, last, _ in groups for code in range(first, last + 1)}


def _format_4(font: bytes, start: int) -> set[int]:
    size = struct.unpack_from(">H", font, start + 6)[0] // 2
    lasts, firsts, deltas, offsets = (
        struct.unpack_from(f">{size}H", font, start + 14 + part * 2 * size + (2 if part else 0)) for part in range(4)
    )
    base, found = start + 16 + 3 * 2 * size, set()
    for place, (first, last, delta, offset) in enumerate(zip(firsts, lasts, deltas, offsets, strict=True)):
        for code in range(first, last + 1):
            glyph = code + delta
            if offset:
                (glyph,) = struct.unpack_from(">H", font, base + 2 * place + offset + 2 * (code - first))
            if code != 0xFFFF and glyph % 0x10000:
                found.add(code)
    return found
