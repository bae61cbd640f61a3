"""Member names: relative, plain, and spelt in one way."""

import re

from models_store.errors import UnsafeArchive

MAX_NAME_BYTES = 1_024
MAX_DEPTH = 16
_DRIVE = re.compile(r"[A-Za-z]:")


def checked_name(raw: bytes) -> str:
    """The name of a member as `a/b/c`, without `./` and doubled slashes; empty for the archive's own root.

    Raises:
        UnsafeArchive: it is absolute, climbs, is not UTF-8, or holds backslashes, drive letters or control characters.
    """
    shown = raw[:120].decode("utf-8", "backslashreplace")
    if len(raw) > MAX_NAME_BYTES:
        raise UnsafeArchive(f"Expected member names of at most {MAX_NAME_BYTES} bytes, got {len(raw)}: {shown!r}...")
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeArchive(f"Expected member names in UTF-8, got {shown!r}.") from error
    parts = [part for part in name.split("/") if part not in {"", "."}]
    problem = _problem(name, parts)
    if problem:
        raise UnsafeArchive(f"Expected a relative, plain member name, got {shown!r}: {problem}.", member=shown)
    return "/".join(parts)


def _problem(name: str, parts: list[str]) -> str | None:
    if name.startswith("/"):
        return "it is absolute"
    if "\\" in name:
        return "it holds a backslash"
    if ".." in parts:
        return "it climbs with '..'"
    if _DRIVE.match(name):
        return "it starts with a drive letter"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "it holds a control character"
    if len(parts) > MAX_DEPTH:
        return f"it is more than {MAX_DEPTH} folders deep"
    return None
