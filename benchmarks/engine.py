"""How fast and lean the engine is: `python benchmarks/engine.py --data DIR --models DIR [--write FILE]`.

900 retain and 900 forget samples, alphas 100 and 3, at most 10,000 rows per layer and side (ViT-B/16 on a CPU: 60 and
60 samples, 4,000 rows):

    textbook     one erase beside the textbook's (full SVDs, dense projections): time, peak memory, agreement
    machine      seconds of each stage beside those its unavoidable work would take at the measured rate of products
    kernels      the engine's products, factorisation and solves beside the library's, and an eigendecomposition
    pairs        25 pairs of alphas beside 25 single updates
    evaluation   a candidate judged by a whole forward and by replay
    growth       cost against samples, width and number of classes
    cuda         absolute times on a CUDA device

Subjects: the CIFAR-10 VGG11-BN of `--models` (cifar10_vgg11_bn.safetensors) on images of `--data`
(cifar10-train-20k.zip), ResNet18 for CIFAR, ViT-B/16 at 224. Without `--data` the images are noise, without `--models`
all weights are random: the figures of time and memory hardly change.

Each measurement runs in a fresh process. What was measured is kept in benchmarks/results/engine.json (`--json FILE` for
another); with `--only` and `--subjects` a part is measured again and the rest of the file stays. `--write
docs/engine.md` puts the tables of the whole file between that document's markers; `--only` without a name measures
nothing before that.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.speed.run import main

if __name__ == "__main__":
    main(Path(__file__).resolve(), __doc__ or "")
