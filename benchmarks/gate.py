"""The gate before its controls: `python benchmarks/gate.py [--data DIR --models DIR] [--write docs/verification.md]`.

Without `--data` and `--models` on scikit-learn's bundled digits: the controls of `expunge selftest --gate` for every
digit, a few minutes. With them on the CIFAR-10 VGG11-BN of `--models` (cifar10_vgg11_bn.safetensors and
cifar10_vgg11_bn_without_<class>.safetensors, the retrained reference) and the images of `--data`
(cifar10-train-20k.zip, cifar10-test.zip), for the class of the reference, which there is compared with itself.

What was measured is kept in `--out`, one file for each control, and not measured again. Verdicts are reached from it
each time, so another margin needs no new measurement. `--write` puts the tables between the document's markers.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

import torch

from benchmarks.comparison.tables import write_between_markers
from benchmarks.controls.cifar import cifar_text
from benchmarks.controls.digits import digits_text
from core.log import configure


def main() -> None:
    """Measure what is missing, then print or write the tables."""
    arguments = _arguments()
    data, models = arguments.data, arguments.models
    if (data is None) != (models is None):
        sys.exit(f"Expected --data and --models together, got {data} and {models}.")
    configure()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "digits" if data is None else "cifar10"
    text = digits_text(arguments.out) if data is None else cifar_text(data, models, arguments.out)
    if arguments.write is None:
        print(text)
    else:
        write_between_markers(arguments.write, text, name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with cifar10-train-20k.zip and cifar10-test.zip")
    parser.add_argument("--models", type=Path, help="folder with the safetensors files")
    parser.add_argument("--out", type=Path, default=Path("build/gate"), help="one JSON file per control (%(default)s)")
    parser.add_argument("--write", type=Path, help="document whose figures are replaced by the tables")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
