"""The API process names, checks and stores, and never loads what computes."""

import subprocess
import sys


def test_what_the_api_uses_loads_no_torch_numpy_or_codec() -> None:
    modules = "errors, headers, catalogue, input_spec, storage"
    code = (
        f"import sys; from models_store import {modules}; catalogue.architectures();"
        "print(sorted({'torch', 'torchvision', 'numpy', 'PIL', 'safetensors'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
