"""Periods of months against the calendar of python-dateutil, which shares no line with ours."""

from datetime import date, timedelta

import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from core.deadlines.periods import WorkingDays, due_on, months_after
from core.settings import Settings

ANY_DAY = WorkingDays()
CHRISTMAS = WorkingDays.of(moves=True, holidays=["2026-12-25", "2026-12-28"])

days = st.dates(date(1990, 1, 1), date(2100, 12, 31))


@given(day=days, months=st.integers(0, 40))
def test_months_are_counted_as_an_independent_calendar_counts_them(day: date, months: int) -> None:
    assert months_after(day, months) == day + relativedelta(months=months)


@given(day=days, later=st.integers(1, 40), months=st.integers(0, 3))
def test_who_is_asked_later_need_not_answer_earlier(day: date, later: int, months: int) -> None:
    assert months_after(day, months) <= months_after(day + timedelta(days=later), months)


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ("2026-01-15", 1, "2026-02-15"),
        ("2026-01-30", 1, "2026-02-28"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2024-01-30", 1, "2024-02-29"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2100-01-31", 1, "2100-02-28"),
        ("2026-02-28", 1, "2026-03-28"),
        ("2024-02-29", 1, "2024-03-29"),
        ("2026-03-31", 1, "2026-04-30"),
        ("2026-12-31", 1, "2027-01-31"),
        ("2026-01-31", 3, "2026-04-30"),
        ("2025-11-30", 3, "2026-02-28"),
    ],
)
def test_the_day_is_the_corresponding_one_or_the_last_of_the_month(received: str, months: int, due: str) -> None:
    assert months_after(date.fromisoformat(received), months) == date.fromisoformat(due)


@given(day=days, further=st.integers(0, 2), paused=st.integers(0, 60))
def test_pauses_are_added_day_by_day_after_the_months(day: date, further: int, paused: int) -> None:
    due = due_on(day, working_days=ANY_DAY, further_months=further, days_paused=paused)
    assert due - timedelta(days=paused) == day + relativedelta(months=1 + further)


@given(day=days, holidays=st.frozensets(days, max_size=5))
def test_the_end_is_the_first_working_day_that_is_not_earlier(day: date, holidays: frozenset[date]) -> None:
    working = WorkingDays(moves=True, holidays=holidays)
    end = working.end_of(day)
    assert end.isoweekday() <= 5
    assert end not in holidays
    between = [day + timedelta(days=number) for number in range((end - day).days)]
    assert all(one.isoweekday() > 5 or one in holidays for one in between)


def test_a_friday_holiday_a_weekend_and_a_monday_holiday_are_passed_over_together() -> None:
    assert due_on(date(2026, 11, 25), working_days=CHRISTMAS) == date(2026, 12, 29)
    assert due_on(date(2026, 11, 25), working_days=ANY_DAY) == date(2026, 12, 25)


def test_the_settings_say_which_days_are_holidays_and_refuse_what_is_no_day() -> None:
    settings = Settings(deadline_on_working_days=True, holidays="2026-12-25 2026-12-28")
    assert settings.working_days == CHRISTMAS
    with pytest.raises(ValueError, match="holidays"):
        Settings(holidays="2026-12-25, 2026-13-01")
