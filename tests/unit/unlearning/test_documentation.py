"""The page about the library shows code that runs and does what the page says."""

import re
from pathlib import Path
from typing import Any

import torch

from tests.fixtures.digits_models import Digits
from unlearning.evaluation import predict_logits

PAGE = Path(__file__).resolve().parents[3] / "docs" / "library.md"


def test_the_code_on_the_page_forgets_the_class_and_leaves_the_model_alone(digits: Digits) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    model, (images, labels) = digits.original, digits.train
    before = {name: value.clone() for name, value in model.state_dict().items()}
    page: dict[str, Any] = {"model": model, "images": images, "labels": labels}

    exec("\n".join(blocks), page)  # noqa: S102

    assert len(blocks) == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x, y = digits.test
    known, left = (predict_logits(each, x).argmax(dim=1).numpy() == y for each in (model, page["model_without"]))
    assert known[y == 3].mean() > 0.9
    assert left[y == 3].mean() < 0.1
    assert left[y != 3].mean() > 0.9
