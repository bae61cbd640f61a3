"""Normalisation is the formula of the input spec."""

import numpy as np
import pytest
import torch

from models_store.input_spec import InputSpec
from models_store.normalise import normalise

SPEC = InputSpec(height=4, width=5, channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))


def test_it_agrees_with_the_formula_in_double_precision() -> None:
    x = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    before = x.copy()
    oracle = ((x / 255.0 - np.array(SPEC.mean)) / np.array(SPEC.std)).transpose(0, 3, 1, 2)
    result = normalise(x, SPEC)
    np.testing.assert_allclose(result.numpy(), oracle, rtol=1e-5, atol=1e-6)
    assert (result.dtype, result.shape, result.is_contiguous()) == (torch.float32, (7, 3, 4, 5), True)
    assert np.array_equal(x, before)


@pytest.mark.parametrize("x", [np.zeros((1, 4, 5, 1), np.uint8), np.zeros((4, 5, 3), np.uint8), np.zeros((1, 4, 5, 3))])
def test_anything_else_is_refused(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected uint8 images"):
        normalise(x, SPEC)
