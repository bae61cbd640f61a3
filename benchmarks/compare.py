"""Unlearning methods side by side: `python benchmarks/compare.py [--write docs/baselines.md]`.

Without further arguments on scikit-learn's bundled digits, which takes minutes; with `--data DIR --models DIR` on
CIFAR-10 and the VGG11-BN of `--models` (cifar10_vgg11_bn.safetensors, and cifar10_vgg11_bn_without_<class>.safetensors
for retrained references), class cat unless `--classes` names others. `--device cuda` puts the models there.

For each class, seed and method one JSON file is written to `--out`; files that were made with the settings of now are
not measured again, so a run that was stopped goes on where it was. `--write` puts the tables of everything in `--out`
between the document's markers for the data set, and the plot beside the document. `--search` tries the learning rates
on training images that are held back from the methods. What is compared, and how, stands in `docs/baselines.md`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.baselines.run import main

if __name__ == "__main__":
    main(__doc__ or "")
