"""Whatever goes wrong in one measure stays its own, and says so in a sentence that tells nothing it should not."""

import pytest
import torch

from core.errors import JobCancelled
from unlearning.errors import NonFinite
from unlearning.evaluation import Measure
from worker.pipeline.verification.findings import Findings
from worker.pipeline.verification.once import Once


def measure(value: float = 0.5) -> Measure:
    return Measure("x", value, value - 0.1, value + 0.1, 7, None, "lower")


def raising(error: Exception) -> Measure:
    raise error


def test_a_broken_measure_leaves_the_others_alone_and_its_text_inside() -> None:
    findings = Findings()
    findings.take("first", lambda: raising(KeyError("a label that is nobody's business")))
    findings.take("second", measure)
    assert findings.measures["first"]["value"] is None
    assert findings.measures["first"]["problem"] == "It could not be measured: KeyError."
    assert findings.measures["second"] == {
        "value": 0.5, "low": 0.4, "high": 0.6, "n": 7, "seed": None, "direction": "lower",
    }  # fmt: skip


def test_what_the_engine_refuses_is_told_in_its_own_words() -> None:
    findings = Findings()
    findings.take("x", lambda: raising(NonFinite("the model's outputs")))
    assert findings.measures["x"]["problem"] == "Expected finite numbers, got NaN or infinity in the model's outputs."


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_could_not_hold_is_no_number(value: float) -> None:
    findings = Findings()
    findings.take("x", lambda: measure(value))
    assert findings.measures["x"]["value"] is None
    assert "NaN or infinity" in findings.measures["x"]["problem"]


def test_several_at_once_stand_under_their_own_names_or_fail_under_one() -> None:
    findings = Findings()
    findings.take_all("both", lambda: {"one": measure(), "other": measure(0.2)})
    findings.take_all("neither", lambda: {"one": raising(ValueError())})
    assert set(findings.measures) == {"one", "other", "neither"}
    assert findings.measures["neither"]["value"] is None


@pytest.mark.parametrize("error", [JobCancelled("stop"), torch.OutOfMemoryError("full")])
def test_a_broken_device_and_a_job_that_must_stop_end_everything(error: Exception) -> None:
    findings = Findings()
    for take in (findings.take, findings.note):
        with pytest.raises(type(error)):
            take("x", lambda: raising(error))
    with pytest.raises(type(error)):
        Once(lambda: raising(error)).get()


def test_what_is_needed_often_is_made_once_and_not_before_it_is_asked_for() -> None:
    made = []

    def make() -> int:
        made.append(1)
        return len(made)

    once = Once(make)
    assert made == []
    assert (once.get(), once.get(), len(made)) == (1, 1, 1)


def test_what_failed_once_fails_for_everybody_who_asks_without_another_try() -> None:
    tries = iter([NonFinite("the model's outputs"), AssertionError("tried again")])
    once = Once(lambda: raising(next(tries)))
    for _ in range(3):
        with pytest.raises(NonFinite):
            once.get()


def test_a_note_that_cannot_be_made_is_left_out() -> None:
    findings = Findings()
    findings.note("list", lambda: [1, 2])
    findings.note("none", lambda: raising(ValueError()))
    assert findings.measures == {"list": [1, 2]}
