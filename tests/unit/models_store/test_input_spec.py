"""The input spec refuses what no image can be normalised with."""

from typing import Any

import pytest
from pydantic import ValidationError

from models_store.input_spec import InputSpec

GOOD: dict[str, Any] = {"height": 32, "width": 48, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}


def test_a_spec_survives_json() -> None:
    spec = InputSpec(**GOOD, resize="crop", crop_ratio=0.875)
    assert InputSpec.model_validate_json(spec.model_dump_json()) == spec
    assert InputSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 0),
        ("height", 1025),
        ("width", -1),
        ("width", True),
        ("width", "32"),
        ("width", 32.0),
        ("channels", 2),
        ("channels", 4),
        ("mean", [0.5]),
        ("mean", [0.5] * 4),
        ("mean", [float("nan"), 0, 0]),
        ("std", [0.5]),
        ("std", [0.2, 0.0, 0.2]),
        ("std", [0.2, -1.0, 0.2]),
        ("std", [0.2, float("inf"), 0.2]),
        ("resize", "nearest"),
        ("crop_ratio", 0.5),
        ("unknown", 1),
    ],
)
def test_a_value_out_of_bounds_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        InputSpec.model_validate({**GOOD, field: value})


def test_it_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        InputSpec(**GOOD).height = 3  # type: ignore[misc]
