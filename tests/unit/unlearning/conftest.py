"""What the engine's tests share: one thread, and one model trained once."""

import pytest
import torch

from tests.fixtures.digits_models import Digits, digits_models
from tests.fixtures.small_models import Leaking, leaking_digits


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny products on several threads cost more in waiting for each other than they save."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def leaking(one_thread: None) -> Leaking:
    """A classifier that learned its training samples by heart; nobody may change it."""
    return leaking_digits()


@pytest.fixture(scope="session")
def digits(one_thread: None) -> Digits:
    """A digits classifier, and one trained the same way that never saw class 8; nobody may change them."""
    return digits_models()
