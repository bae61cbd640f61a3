"""A first look at an uploaded data set: only its beginning, so that the wrong kind of file is refused at once."""

from models_store.archives.tars import BLOCK_BYTES, is_tar_header
from models_store.errors import MalformedDataset

HEAD_BYTES = BLOCK_BYTES
ZIP_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
GZIP_BEGINNING = b"\x1f\x8b\x08"


def inspect(head: bytes, size_bytes: int) -> None:
    """Refuse what is no zip (or npz), tar or tar.gz by its first bytes; what is inside, a worker judges.

    Args:
        head: the first bytes.
        size_bytes: size of the whole file.

    Raises:
        MalformedDataset: it is none of them.
    """
    if head.startswith((*ZIP_BEGINNINGS, GZIP_BEGINNING)) or is_tar_header(head):
        return
    got = f"one that starts with {head[:8]!r}" if size_bytes else "an empty body"
    raise MalformedDataset(f"Expected a zip, tar, tar.gz or npz file, got {got}.")
