"""What the routes bring into the process."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "PIL", "safetensors", "unlearning")


@pytest.mark.parametrize("module", ["app.models.endpoints", "app.datasets.endpoints"])
def test_routes_bring_in_no_mathematics(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
