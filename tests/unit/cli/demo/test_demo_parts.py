"""The parts of the demonstration that need no service: data, training, the independent check."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cli.demo import claims, training
from cli.demo.client import repr_digest
from cli.demo.digits import Digits, load_digits
from cli.failures import Failure
from models_store.architectures import build, initialise


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(0)


def _untrained() -> torch.nn.Module:
    network = build(training.ARCHITECTURE, {}, num_classes=10, channels=1)
    initialise(network, torch.Generator().manual_seed(1))
    return network


def _measure(right: int, total: int) -> dict[str, Any]:
    return {"value": right / total, "n": total}


def test_the_halves_are_disjoint_and_hold_every_image(digits: Digits) -> None:
    assert len(digits.train) + len(digits.test) == 1797
    assert abs(len(digits.train) - len(digits.test)) <= 1
    seen = {image.tobytes() for image in digits.train.x}
    shared = [image for image in digits.test.x if image.tobytes() in seen]
    assert not shared  # the bundled images are all different


def test_every_digit_has_the_same_share_of_both_halves(digits: Digits) -> None:
    difference = np.bincount(digits.train.y) - np.bincount(digits.test.y)
    assert np.abs(difference).max() <= 1


def test_pixels_use_the_whole_range(digits: Digits) -> None:
    assert digits.train.x.dtype == np.uint8
    assert digits.train.x.shape[1:] == (8, 8, 1)
    assert (digits.train.x.min(), digits.train.x.max()) == (0, 255)


def test_the_seed_decides_the_split(digits: Digits) -> None:
    assert np.array_equal(load_digits(0).train.x, digits.train.x)
    assert not np.array_equal(load_digits(1).train.x, digits.train.x)


def test_the_same_seed_trains_the_same_weights(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCHS", 2)
    monkeypatch.setattr(training, "NEEDED_ACCURACY", 0.0)
    first, again, other = (training.train(digits, seed, lambda _epoch, _loss: None).weights for seed in (0, 0, 1))
    assert hashlib.sha256(first).digest() == hashlib.sha256(again).digest()
    assert first != other


def test_a_classifier_that_learned_too_little_stops_the_demonstration(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "EPOCHS", 1)
    with pytest.raises(Failure, match="Expected the trained classifier to reach 96%"):
        training.train(digits, 0, lambda _epoch, _loss: None)


def test_the_independent_check_counts_what_the_network_says(digits: Digits, tmp_path: Path) -> None:
    from models_store.weights import save_state

    network = _untrained()
    weights, data = tmp_path / "weights.safetensors", tmp_path / "digits.npz"
    weights.write_bytes(save_state(network))
    data.write_bytes(digits.as_npz())
    counted = claims.recheck(weights, data, 3)
    with torch.inference_mode():
        predicted = network(training.as_input(digits.test.x)).argmax(dim=1).numpy()
    kept = digits.test.y != 3
    assert counted["retain_accuracy_test"] == (int((predicted == digits.test.y)[kept].sum()), int(kept.sum()))
    assert counted["forget_accuracy_test"] == (int((predicted == 3)[~kept].sum()), int((~kept).sum()))


def test_the_independent_check_knows_nothing_of_expunge() -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('recheck', {str(claims.RECHECK)!r})\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}\n"
        "             & {'app', 'cli', 'core', 'models_store', 'unlearning', 'worker'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_weights_file_that_does_not_load_is_one_sentence(digits: Digits, tmp_path: Path) -> None:
    weights, data = tmp_path / "weights.safetensors", tmp_path / "digits.npz"
    weights.write_bytes(b"nothing")
    data.write_bytes(digits.as_npz())
    with pytest.raises(Failure, match="Expected plain torch to load the new version"):
        claims.recheck(weights, data, 3)


def test_equal_numbers_are_confirmed() -> None:
    claims.compare({"forget_accuracy_test": (1, 90)}, {"forget_accuracy_test": _measure(1, 90)})


@pytest.mark.parametrize("claimed", [_measure(0, 90), _measure(1, 91), {"value": 0.0112, "n": 90}])
def test_one_image_more_or_less_is_noticed(claimed: dict[str, Any]) -> None:
    with pytest.raises(Failure, match="as plain torch counts it"):
        claims.compare({"forget_accuracy_test": (1, 90)}, {"forget_accuracy_test": claimed})


def test_a_digest_is_spelled_as_rfc_9530_says() -> None:
    # The example of RFC 9530 appendix B.1.
    digest = hashlib.sha256(b'{"hello": "world"}\n').digest()
    assert repr_digest(digest) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
