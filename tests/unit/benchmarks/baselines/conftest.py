"""One digits model for all of these tests, and what their methods are given."""

import pytest
import torch

from benchmarks.baselines.method import Data
from tests.fixtures.digits_models import Digits, digits_models


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tiny products on several threads cost more in waiting for each other than they save."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits(one_thread: None) -> Digits:
    """A digits classifier, and one trained the same way that never saw class 8; nobody may change them."""
    return digits_models()


@pytest.fixture(scope="session")
def data(digits: Digits) -> Data:
    """The images that the classifier was trained on."""
    return Data.of(*digits.train)
