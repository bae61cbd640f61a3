"""Labels that are not those of the original: nothing is decided with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.policy.policies import STANDARD
from core.policy.verdict import Outcome, judge
from models_store.datasets import ImageSet
from tests.fixtures.digits_models import FORGET, Digits, Labels
from tests.unit.worker.verification.conftest import images, scene_of, silent
from worker.pipeline.data import Images
from worker.pipeline.verification import Case, Deletion, Looked, Scene, Subject, decide
from worker.pipeline.verification.labels import why_unfit


def relabelled(digits: Digits, labels: Labels) -> Digits:
    return replace(
        digits, train=(digits.train[0], labels[: len(digits.train[1])]), test=(digits.test[0], labels[-897:])
    )


def both(digits: Digits) -> Labels:
    return np.concatenate([digits.train[1], digits.test[1]])


def subject_of(scene: Scene) -> Subject:
    return Subject(scene, scene.original, silent(), (0.0, 1.0))


@pytest.mark.parametrize("how", ["shuffled", "shifted"])
def test_labels_that_the_original_did_not_learn_decide_nothing_and_the_reason_says_so(how: str, digits: Digits) -> None:
    labels = both(digits)
    wrong = {"shuffled": np.random.default_rng(0).permutation(labels), "shifted": (labels + 1) % 10}[how]
    scene = scene_of(relabelled(digits, wrong), seed=0)
    after = Subject(scene, digits.retrained, silent(), (0.0, 1.0))
    verdict = judge(decide(Case(subject_of(scene), after), STANDARD.deciding), STANDARD)
    assert (verdict.outcome, set(verdict.decided_by)) == (Outcome.INCONCLUSIVE, set(STANDARD.deciding))
    for judgement in verdict.judgements:
        assert judgement.problem is not None
        assert "labels that the original was trained on" in judgement.problem
        assert "where chance gives 10.0%" in judgement.problem


def test_the_right_labels_are_not_doubted(digits: Digits, scene: Scene) -> None:
    assert why_unfit(subject_of(scene)) is None


def test_half_of_the_labels_wrong_is_not_chance(digits: Digits) -> None:
    rng, labels = np.random.default_rng(0), both(digits)
    wrong = np.where(rng.random(len(labels)) < 0.5, rng.permutation(labels), labels)
    assert why_unfit(subject_of(scene_of(relabelled(digits, wrong), seed=0))) is None


def test_images_of_other_classes_under_a_class_s_name_decide_nothing(digits: Digits) -> None:
    """The original finds nothing of the class, so nothing can come back: every attack would 'fail'."""
    labels = both(digits)
    wrong, own = labels.copy(), np.flatnonzero(labels == FORGET)
    others = np.random.default_rng(0).choice(np.flatnonzero(labels != FORGET), len(own), replace=False)
    wrong[others], wrong[own] = FORGET, labels[others]
    scene = scene_of(relabelled(digits, wrong), seed=0)
    after = Subject(scene, digits.retrained, silent(), (0.0, 1.0))
    verdict = judge(decide(Case(subject_of(scene), after), STANDARD.deciding), STANDARD)
    assert verdict.outcome == Outcome.INCONCLUSIVE
    for judgement in verdict.judgements:
        assert judgement.problem is not None
        assert f"recognises the test images of class {FORGET}" in judgement.problem


def test_a_base_that_lacks_a_class_deleted_before_is_no_reason_for_doubt(digits: Digits) -> None:
    """After an upload that was trained without it, the class is deleted again; only the request's must be known."""
    side = images(*digits.test)
    for asked, is_doubted in (((3,), False), ((3, FORGET), True)):
        deletion = Deletion(sorted([3, FORGET]), sorted([3, FORGET]), 10, 0, asked)
        scene = Scene(deletion, Looked.at(side, side, deletion), digits.retrained)
        assert (why_unfit(subject_of(scene)) is not None) == is_doubted


def test_half_of_a_class_is_enough_where_there_are_only_two(digits: Digits) -> None:
    """Chance says nothing about one class of two: what counts is how often others are called so."""
    (x, y) = digits.test
    said = digits.original(x).argmax(dim=1).numpy()
    wrong = np.flatnonzero((y == 4) & (said == 4))[:45]
    chosen = np.flatnonzero((y == 3) | (y == 4))
    labels = y.copy()
    labels[wrong] = 3
    side = images(x[torch.from_numpy(chosen)], labels[chosen])
    deletion = Deletion([3], [3], 10, 0)
    assert why_unfit(subject_of(Scene(deletion, Looked.at(side, side, deletion), digits.original))) is None


def test_a_class_that_was_deleted_before_is_no_reason_for_doubt(digits: Digits) -> None:
    """Of two classes the base recognises one, which is what a constant answer does; unless the other left by right."""
    sides = [
        images(x[torch.from_numpy(here)], y[here])
        for x, y, here in (
            (*digits.test, np.isin(digits.test[1], [3, 4, FORGET])),
            (*digits.test, np.isin(digits.test[1], [3, FORGET])),
        )
    ]
    assert _doubt(digits, sides[0], [3], [FORGET]) is None
    assert _doubt(digits, sides[1], [3], []) is not None


def _doubt(digits: Digits, side: Images, erase: list[int], before: list[int]) -> str | None:
    deletion = Deletion([*erase, *before], erase, 10, seed=0)
    return why_unfit(subject_of(Scene(deletion, Looked.at(side, side, deletion), digits.retrained)))


def test_a_network_that_answers_always_the_same_is_no_better_than_chance(digits: Digits) -> None:
    pixels = images(*digits.test).pixels
    same = ImageSet(np.zeros_like(pixels.x), pixels.y)
    deletion = Deletion([FORGET], [FORGET], 10, seed=0)
    side = replace(images(*digits.test), pixels=same)
    scene = Scene(deletion, Looked.at(side, side, deletion), digits.original)
    assert why_unfit(subject_of(scene)) is not None
