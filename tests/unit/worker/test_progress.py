"""Progress is seldom written, never runs backwards within a step, and is where a job notices that it must stop."""

from itertools import pairwise

import pytest

from core.errors import JobCancelled
from core.states import Step
from worker import progress
from worker.progress import PERCENT, Progress


class Log:
    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    def __call__(self, step: str, percent: int) -> None:
        self.written.append((step, percent))


def test_the_steps_follow_each_other_without_gap_and_leave_the_last_percent_to_the_final_move() -> None:
    spans = [PERCENT[step] for step in Step]
    assert spans[0][0] == 0
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[-1][1] == 99


def test_a_thousand_calls_write_at_most_one_percent_each_quarter_second() -> None:
    log = Log()
    working = Progress(log, lambda: False)
    working.begin(Step.UNLEARN)
    for number in range(1000):
        working.reach(number / 1000)
    assert log.written[0] == ("unlearn", PERCENT[Step.UNLEARN][0])
    assert len(log.written) <= 3


def test_every_step_is_reported_however_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    working = Progress(log, lambda: False)
    for step in Step:
        working.begin(step)
    assert [step for step, _percent in log.written] == [step.value for step in Step]


def test_shares_are_mapped_into_the_span_and_clamped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.0)
    log = Log()
    working = Progress(log, lambda: False)
    working.begin(Step.VERIFY)
    list(working.through(range(4), 4, (0.0, 1.0)))
    working.over((0.0, 1.0))("tune", 9, 3)
    percents = [percent for _step, percent in log.written]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == PERCENT[Step.VERIFY]


def test_a_stop_is_noticed_at_the_next_batch() -> None:
    asked = iter([False, False, True])
    working = Progress(Log(), lambda: next(asked))
    items = working.through("abc", 3, (0.0, 1.0))
    assert [next(items), next(items)] == ["a", "b"]
    with pytest.raises(JobCancelled):
        next(items)
