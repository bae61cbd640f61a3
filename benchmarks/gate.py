"""The gate before its controls: `python benchmarks/gate.py [--data DIR --models DIR] [--write docs/verification.md]`.

Without `--data` and `--models` on scikit-learn's bundled digits: the controls of `expunge selftest --gate` for every
digit, a few minutes. With them on the CIFAR-10 VGG11-BN of `--models` (cifar10_vgg11_bn.safetensors and
cifar10_vgg11_bn_without_<class>.safetensors, the retrained reference) and the images of `--data`
(cifar10-train-20k.zip, cifar10-test.zip), for the class of the reference, which there is compared with itself.

What was measured is kept in `--out`, one file for each control, and not measured again. Verdicts are reached from it
each time, so another margin needs no new measurement. `--write` puts the tables between the document's markers.

`--seconds` measures how long a verification takes on CIFAR-10 instead, and how many images it sends through a network,
and adds that to the tables; `--seconds standard` only what decides by `standard`. The machine should have nothing else
to do: `--threads 2 --seconds`.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

import torch

from benchmarks.comparison.tables import write_between_markers
from benchmarks.controls.cifar import cifar_text
from benchmarks.controls.digits import digits_text
from benchmarks.controls.timing import TOLD
from core.log import configure


def main() -> None:
    """Measure what is missing, then print or write the tables."""
    arguments = _arguments()
    data, models = arguments.data, arguments.models
    if (data is None) != (models is None):
        sys.exit(f"Expected --data and --models together, got {data} and {models}.")
    if arguments.seconds is not None and data is None:
        sys.exit("Expected --data and --models with --seconds, got none.")
    configure()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    name = "digits" if data is None else "cifar10"
    if data is None:
        text = digits_text(arguments.out)
    else:
        timed = () if arguments.seconds is None else arguments.seconds or tuple(TOLD)
        text = cifar_text(data, models, arguments.out, timed)
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
    parser.add_argument("--seconds", nargs="*", choices=TOLD, help="time a verification of CIFAR-10 instead")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
