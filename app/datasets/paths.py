"""From a path that a caller names to a file the operator meant to share: never one step outside the root.

The name is judged before the file system is asked, and the file system's answer again: links may lead about inside the
root, and nowhere else. What is kept is the real place relative to the root, so that a link moved later moves nothing;
a worker judges it once more when it opens the file.
"""

import os
import stat
from pathlib import Path, PurePosixPath

from core.errors import Invalid, TooLarge

ELSEWHERE = "Expected a file that exists below the shared folder, got another path."


class PathsNotAllowed(Invalid):
    """The operator shares no folder."""

    slug = "paths-not-allowed"
    title = "Data sets cannot be named by path here"


class PathRefused(Invalid):
    """The path names no file below the operator's folder."""

    slug = "path-refused"
    title = "Not a file below the shared folder"


def located(root: Path | None, path: str, *, pointer: str, max_bytes: int) -> tuple[str, int]:
    """The file's real place relative to the root, with `/` between its parts, and its size in bytes.

    Args:
        root: the operator's folder; None when there is none.
        path: as the caller gave it.
        pointer: where it stands in the request body.
        max_bytes: largest file.

    Raises:
        PathsNotAllowed: there is no shared folder.
        PathRefused: the path is absolute, leads out of the folder, or names no regular file.
        TooLarge: the file is over the limit.
    """
    if root is None:
        msg = "Expected an upload, got a path, but the operator has not set EXPUNGE_DATASET_ROOT."
        raise PathsNotAllowed(msg, pointer=pointer)
    _check_name(path, pointer)
    try:
        real_root = os.path.realpath(root, strict=True)
        real = os.path.realpath(Path(real_root, path), strict=True)
        status = Path(real).stat(follow_symlinks=False)
    except OSError as error:
        raise PathRefused(ELSEWHERE, pointer=pointer) from error
    # The same words for what lies outside and for what is missing: this route tells nobody what else the disk holds.
    if not Path(real).is_relative_to(real_root):
        raise PathRefused(ELSEWHERE, pointer=pointer)
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused("Expected a regular file, got something else.", pointer=pointer)
    if status.st_size > max_bytes:
        msg = f"Expected a file of at most {max_bytes:,} bytes, got {status.st_size:,}."
        raise TooLarge(msg, pointer=pointer, max_bytes=max_bytes)
    return Path(real).relative_to(real_root).as_posix(), status.st_size


def _check_name(path: str, pointer: str) -> None:
    expected = None
    if not path.isprintable():
        expected = "a path of printable characters"
    elif PurePosixPath(path).is_absolute() or "\\" in path:
        expected = "a path relative to the shared folder, with / between its parts"
    elif ".." in PurePosixPath(path).parts:
        expected = "a path without .."
    if expected:
        msg = f"Expected {expected}, got another."
        raise PathRefused(msg, pointer=pointer)
