"""Which weights the engine reaches, model by model: `python benchmarks/coverage.py [--only NAME...] [--write FILE]`.

Every classification builder of torchvision, and timm models of different families if timm is installed
(`pip install expunge[timm]`): random weights, the smallest input that the builder allows, three retain and three forget
samples. For each model:

* what share of its matrices, and of all its parameters, the engine edits; what it leaves alone, and why;
* one or two layers are compared with an oracle that shares no code with the engine: inputs by plain module hooks and
  `unfold`, a full SVD of both sides and dense projections in float64;
* the edit is applied, and the model run again.

Models with more than 150 million parameters are found in full, but only the compared layers are edited. Numbers in
parentheses in the table say so. `--json FILE` writes everything that was measured.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script, the repository is not on the path

from benchmarks.zoo.examine import Row, examine
from benchmarks.zoo.models import names
from benchmarks.zoo.tables import document, line


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    started = time.perf_counter()
    for name in arguments.only or names():
        row = examine(name)
        rows.append(row)
        print(line(row), flush=True)
    seconds = time.perf_counter() - started
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if arguments.write:
        Path(arguments.write).write_text(document(rows, seconds))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models to examine; timm's as timm/NAME")
    parser.add_argument("--write", metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
