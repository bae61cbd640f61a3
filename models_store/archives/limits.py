"""What an archive may cost, and the meter that stops it."""

from dataclasses import dataclass

from models_store.errors import ArchiveOverLimit, UnsafeArchive


@dataclass(frozen=True)
class ArchiveLimits:
    """Most that one archive may hold. Ratios count only past `free_bytes`: a tiny text shrinks a lot, harmlessly."""

    max_members: int = 200_000
    max_bytes: int = 8 << 30
    max_member_bytes: int = 32 << 20
    max_ratio: int = 100
    free_bytes: int = 1 << 20


class Meter:
    """Counts the members and the bytes that really came out, whatever the archive's headers say.

    Args:
        limits: when to stop.
        archive_bytes: size of the archive as stored.
    """

    def __init__(self, limits: ArchiveLimits, archive_bytes: int) -> None:
        self._limits = limits
        self._most_by_ratio = max(limits.free_bytes, limits.max_ratio * archive_bytes)
        self._bytes = 0
        self._names: set[str] = set()
        self._members = 0

    def count_bytes(self, num_bytes: int) -> None:
        """Take note of bytes that came out.

        Raises:
            ArchiveOverLimit: they are too many, or too many for an archive of this size.
        """
        self._bytes += num_bytes
        if self._bytes > self._limits.max_bytes:
            raise ArchiveOverLimit(f"Expected at most {self._limits.max_bytes:,} bytes in the archive, got more.")
        if self._bytes > self._most_by_ratio:
            raise ArchiveOverLimit(f"Expected a compression ratio of at most {self._limits.max_ratio}:1, got more.")

    def count_member(self) -> None:
        """Take note of an entry of any kind.

        Raises:
            ArchiveOverLimit: there are too many.
        """
        self._members += 1
        if self._members > self._limits.max_members:
            raise ArchiveOverLimit(f"Expected at most {self._limits.max_members:,} members, got more.")

    def check_new(self, name: str) -> None:
        """Refuse a second file of the same name: readers differ in which of the two they would show.

        Raises:
            UnsafeArchive: the name was there before.
        """
        if name in self._names:
            raise UnsafeArchive(f"Expected every member once, got {name!r} twice.", member=name)
        self._names.add(name)
