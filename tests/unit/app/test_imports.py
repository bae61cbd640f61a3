"""The front door is light: what it must never load, it does not load."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "sklearn",
    "PIL",
    "safetensors",
    "celery",
    "kombu",
    "redis",
    "unlearning",
)
SCRIPT = "import json, sys; import app.main; app.main.app; print(json.dumps(sorted(sys.modules)))"


def test_the_api_loads_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, cwd=ROOT, timeout=60)
    loaded = set(json.loads(ran.stdout))
    assert "app.main" in loaded
    assert loaded.isdisjoint(HEAVY)
