"""Which parts of the refit matter: `python benchmarks/ablation.py --data DIR --models DIR [--out DIR] [--write FILE]`.

Variations of the refit, each with one thing changed, on the CIFAR-10 VGG11-BN of `--models`, class cat unless
`--classes` names others. All figures come from training images (cifar10-train-20k.zip of `--data`): 500 of each class
are held out from the update, from the images that a depth is chosen by, and from the attacker, and judge. The test
split is not even read, because what is learned here shapes the method.

For each class and variation one JSON file is written to `--out`; files that exist are not measured again, so a run that
was stopped goes on where it was. `--write docs/quality.md` puts the tables of everything in `--out` between the
document's markers; without it they are printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.refits.run import main

if __name__ == "__main__":
    main(__doc__ or "")
