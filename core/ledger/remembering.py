"""The newest checkpoint signed on this machine, in a file beside the key.

Whoever restores an older database, or cuts entries off it, does not reach this file: that is its whole purpose.
"""

import logging
import secrets
from pathlib import Path

from core.ledger.checkpoints import Checkpoint
from core.signing.notes import BadNote, Note

_log = logging.getLogger("expunge.ledger")


def recall(path: Path) -> str | None:
    """The note in the file; None if there is none. Its signature is the reader's business."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("newest checkpoint cannot be read: %s", type(error).__name__)
        return None


def remember(path: Path, note: str, size: int) -> None:
    """Keep the note unless the file has a larger one; a folder that cannot be written to is logged and let be."""
    known = recall(path)
    if known is not None and _size(known) >= size:
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(note, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        _log.warning("newest checkpoint cannot be kept: %s", type(error).__name__)
        draft.unlink(missing_ok=True)


def _size(note: str) -> int:
    try:
        return Checkpoint.parse(Note.parse(note).text).size
    except BadNote:
        return -1
