"""Which requests are made, by default and when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.comparison.data import LABELS

SEVERAL_SEEDS = ("airplane", "cat", "frog")
"""The classes that are measured with three seeds: a vehicle, the hardest animal and the easiest."""


@dataclass(frozen=True)
class Plan:
    """One request, or several in succession: what each of them forgets."""

    name: str
    kind: str
    steps: tuple[tuple[int, ...], ...]

    @property
    def gone(self) -> tuple[int, ...]:
        """All classes that are forgotten at the end."""
        return tuple(sorted(index for step in self.steps for index in step))


GROUPS = (
    Plan("cat+dog", "at once", ((3, 5),)),
    Plan("airplane+bird+deer+frog+ship", "at once", ((0, 2, 4, 6, 8),)),
    Plan("cat,ship,frog", "in succession", ((3,), (8,), (6,))),
)


def single(index: int) -> Plan:
    return Plan(LABELS[index], "single", ((index,),))


def class_index(text: str) -> int:
    """A class by its name or its index.

    Raises:
        ValueError: there is no such class.
    """
    if text in LABELS:
        return LABELS.index(text)
    if text.isdecimal() and int(text) < len(LABELS):
        return int(text)
    raise ValueError(f"Expected one of {', '.join(LABELS)} or an index below {len(LABELS)}, got {text!r}.")


def planned(classes: Sequence[int] | None, seeds: Sequence[int], *, groups: bool, full: bool) -> list[tuple[Plan, int]]:
    """Every (plan, seed), the first seed of all before the others.

    Args:
        classes: Single classes; None for all.
        seeds: The first is used for everything, the others for the classes in SEVERAL_SEEDS, or those asked for.
        groups: Also several classes at once and in succession.
        full: Every class with every seed.
    """
    chosen = range(len(LABELS)) if classes is None else classes
    several = [index for index in chosen if full or classes is not None or LABELS[index] in SEVERAL_SEEDS]
    found = [(single(index), seeds[0]) for index in chosen]
    found += [(plan, seeds[0]) for plan in GROUPS if groups]
    found += [(single(index), seed) for seed in seeds[1:] for index in several]
    return found
