"""The classes of a plot: their names, and which of them were to be deleted."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.audit.plots.svg import fitted, width_of

BOLDER = 1.12
"""How much wider bold text is."""


@dataclass(frozen=True)
class Classes:
    """Class names in output order, and the indices of the deleted ones.

    Attributes:
        labels: names; may be empty where nobody knows them.
        deleted: by this request.
        earlier: by requests before it.
    """

    labels: tuple[str, ...]
    deleted: frozenset[int]
    earlier: frozenset[int] = frozenset()

    @property
    def gone(self) -> frozenset[int]:
        """All that must be gone."""
        return self.deleted | self.earlier

    def name(self, index: int) -> str:
        """The class's name, or its index where it has none."""
        return self.labels[index] if index < len(self.labels) else f"class {index}"

    def mark(self, index: int) -> str:
        """What is special about it, in words; empty for a class that stays."""
        return "deleted" if index in self.deleted else "deleted before" if index in self.earlier else ""

    def told(self, index: int) -> str:
        """Name and mark."""
        mark = self.mark(index)
        return f"{self.name(index)} ({mark})" if mark else self.name(index)

    def fitted(self, index: int, width: float, size: float) -> str:
        """Name and mark within a width in pixels; a long name is cut, never the mark."""
        mark = self.mark(index)
        if not mark:
            return fitted(self.name(index), width, size)
        tail = f" ({mark})"
        return fitted(self.name(index), width / BOLDER - width_of(tail, size), size) + tail

    def width(self, index: int, size: float) -> float:
        """About how wide name and mark are, in pixels."""
        return width_of(self.told(index), size) * (BOLDER if self.mark(index) else 1.0)

    def weight(self, index: int) -> str | None:
        """Deleted classes are set in bold."""
        return "bold" if index in self.gone else None

    def chosen(self, by_interest: Iterable[int], most: int, most_gone: int) -> list[int]:
        """At most `most` of the classes in the order of their indices, deleted ones before all others.

        Args:
            by_interest: indices, the most interesting first.
            most: how many in all.
            most_gone: how many deleted ones, so that there is room for others.
        """
        ordered = list(dict.fromkeys(by_interest))
        gone = [index for index in ordered if index in self.gone][:most_gone]
        kept = [index for index in ordered if index not in self.gone]
        return sorted([*gone, *kept[: most - len(gone)]])
