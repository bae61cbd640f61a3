"""How well classes are forgotten: `python benchmarks/quality.py --data DIR --models DIR [--out DIR] [--write FILE]`.

On the CIFAR-10 VGG11-BN of `--models` (cifar10_vgg11_bn.safetensors, and cifar10_vgg11_bn_without_<class>.safetensors
for retrained references) and the images of `--data` (cifar10-train-20k.zip, cifar10-test.zip):

    all ten classes one by one with one seed, three of them with three seeds (--full: all with three);
    two and five classes at once; three in succession.

For each request and method one JSON file is written to `--out`; files that exist are not measured again, so a run that
was stopped goes on where it was. `benchmarks/results/quality`, the default, holds the rows behind the document; another
folder measures afresh. `--write docs/quality.md` puts the tables of everything in `--out` between the
document's markers; without it they are printed. What is measured, and how, stands in `docs/quality.md`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.comparison.run import main

if __name__ == "__main__":
    main()
