"""The files of a data set, what they may cost, and the layout of folders in them."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from models_store.archives import ArchiveLimits, iterate_files
from models_store.errors import MalformedDataset

SPLITS = ("train", "test", "validation")
MAX_LABEL_LENGTH = 128
_IGNORED = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")


@dataclass(frozen=True)
class Source:
    """One file of a data set; without `split` the file itself has split folders (or arrays named by split)."""

    path: Path
    split: str | None = None


@dataclass(frozen=True)
class DatasetLimits:
    """What reading a data set may cost; images and labels are counted over all its files."""

    archive: ArchiveLimits = field(default_factory=ArchiveLimits)
    max_pixels: int = 16_000_000
    max_array_bytes: int = 8 << 30
    max_images: int = 1_000_000
    max_labels: int = 100_000


class EncodedImage(NamedTuple):
    """An image file with its place in the data set."""

    split: str
    label: str
    member: str
    content: bytes


def iterate_folder(source: Source, limits: DatasetLimits) -> Iterator[EncodedImage]:
    """Read an image-folder archive.

    The layout is `<class>/<file>` for a source with a split, else `<split>/<class>/<file>`; one common folder around it
    all is tolerated. Files of the operating system (`.DS_Store`, `__MACOSX`) are left out.

    Yields:
        Every file with split and label, not yet looked at.

    Raises:
        MalformedDataset: a member has another place, or the archive is refused.
    """
    layout = "<class>/<file>" if source.split else "<split>/<class>/<file>"
    depth = layout.count("/") + 1
    top: tuple[str, ...] | None = None
    for name, content in iterate_files(source.path, limits.archive):
        if _IGNORED.search(name):
            continue
        parts = tuple(name.split("/"))
        top = parts[: max(0, len(parts) - depth)] if top is None else top
        split = source.split or parts[len(top)] if len(parts) > len(top) else ""
        if len(top) > 1 or len(parts) != len(top) + depth or parts[: len(top)] != top or split not in SPLITS:
            raise MalformedDataset(
                f"Expected members as {layout} with splits {', '.join(SPLITS)}, got {name!r}.", member=name
            )
        yield EncodedImage(split, checked_label(parts[-2], name), name, content)


def checked_label(text: str, member: str) -> str:
    """A label in composed Unicode, so that the same name from macOS and elsewhere is one label.

    Raises:
        MalformedDataset: it is too long.
    """
    label = unicodedata.normalize("NFC", text)
    if len(label) > MAX_LABEL_LENGTH:
        raise MalformedDataset(
            f"Expected labels of at most {MAX_LABEL_LENGTH} characters, got {len(label)} in {member!r}.", member=member
        )
    return label
