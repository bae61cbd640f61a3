"""Periods of months, as the law counts them. Pure: no clock, no database."""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

MONTHS_TO_ANSWER = 1
"""GDPR Article 12(3): without undue delay and in any event within one month of receipt."""
MOST_MONTHS_FURTHER = 2
"""GDPR Article 12(3): that period may be extended by two further months where necessary."""
SATURDAY = 5


def months_after(day: date, months: int) -> date:
    """The corresponding day some months later, or the last day of that month if it has no such day.

    So a period that begins on 31 January ends on 28 February, or on 29 in a leap year. The months are counted in one
    go: three months after 31 January is 30 April, and not 28 April.

    Args:
        day: when the request was received; the day itself does not count.
        months: how many, at least 0.

    References:
        Regulation (EEC, Euratom) No 1182/71, Article 3(2)(c).
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


@dataclass(frozen=True)
class WorkingDays:
    """On which days a period may end."""

    moves: bool = False
    """Whether a period that would end on another day ends on the next working day. Without, it ends early rather than
    late."""
    holidays: frozenset[date] = frozenset()

    @classmethod
    def of(cls, *, moves: bool, holidays: Iterable[str]) -> Self:
        """From the texts of the settings.

        Raises:
            ValueError: a text is not a date.
        """
        return cls(moves, frozenset(date.fromisoformat(day) for day in holidays))

    def end_of(self, day: date) -> date:
        """The day itself, or the first working day after it (Regulation 1182/71, Article 3(4))."""
        while self.moves and (day.weekday() >= SATURDAY or day in self.holidays):
            day += timedelta(days=1)
        return day


def due_on(received_on: date, *, working_days: WorkingDays, further_months: int = 0, days_paused: int = 0) -> date:
    """The last day on which the answer is in time.

    Args:
        received_on: when the request was received.
        working_days: what happens at weekends and on holidays.
        further_months: by how many months the period was extended.
        days_paused: how long the clock stood still, in days; they are added to the end of the months.
    """
    end = months_after(received_on, MONTHS_TO_ANSWER + further_months) + timedelta(days=days_paused)
    return working_days.end_of(end)
