"""The rows as lines, and as a page."""

import torch
import torchvision

from benchmarks.zoo.examine import Row
from benchmarks.zoo.models import timm_version


def line(row: Row) -> str:
    compared = ", ".join(f"{weight} {off:.0e} of {edit:.0e}" for weight, (off, edit) in row.compared.items()) or "none"
    return (
        f"{row.name:34} {row.size:4} px {row.parameters / 1e6:7.1f} M  {row.layers:4} layers  "
        f"{100 * row.of_matrices:6.2f} % of matrices {100 * row.of_all:6.2f} % of all  "
        f"{'runs' if row.runs else 'FAILS'}  {row.seconds:5.1f} s  {compared}"
    )


def document(rows: list[Row], seconds: float) -> str:
    lines = [
        "# Coverage",
        "",
        f"Printed by `python benchmarks/coverage.py --write docs/coverage.md` with torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}{timm_version()}; {seconds / 60:.0f} minutes on "
        f"{torch.get_num_threads()} core(s).",
        "",
        "Random weights. `matrices`: share of the numbers in a forward pass's weight matrices (linear, convolution,",
        "attention) that the engine edits; what takes part in none, such as a head for training alone, counts in",
        "`all` alone. `all`: share of all parameters. `difference`: how far the edited matrix is from that of a",
        "float64 SVD oracle that shares no code with the engine, and after `of` how large the edit is; both are shares",
        "of the matrix, for each compared layer.",
        "`runs`: the edited model gives finite outputs; in parentheses when only the compared layers were edited, to",
        "save memory.",
        "",
        "| model | input | parameters | layers | matrices | all | difference | runs | left alone |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_table_row(row) for row in rows),
        "",
        "Left alone, with the largest share in any model:",
        "",
        *_summary(rows),
        "",
    ]
    return "\n".join(lines)


def _table_row(row: Row) -> str:
    runs = ("yes" if row.runs else "NO") if row.is_edited_whole else ("(yes)" if row.runs else "(NO)")
    left = "; ".join(f"{reason} {100 * share:.2f} %" for reason, share in row.untouched.items() if share >= 0.0005)
    difference = ", ".join(f"{off:.0e} of {edit:.0e}" for off, edit in row.compared.values()) or "none"
    cells = [
        row.name,
        str(row.size),
        f"{row.parameters / 1e6:.1f} M",
        str(row.layers),
        f"{100 * row.of_matrices:.2f} %",
        f"{100 * row.of_all:.2f} %",
        difference,
        runs,
        left or "-",
    ]
    return f"| {' | '.join(cells)} |"


def _summary(rows: list[Row]) -> list[str]:
    largest: dict[str, tuple[float, str]] = {}
    for row in rows:
        for reason, share in row.untouched.items():
            largest[reason] = max(largest.get(reason, (0.0, "")), (share, row.name))
    ordered = sorted(largest.items(), key=lambda item: -item[1][0])
    return [f"* {reason}: {100 * share:.2f} % ({name})" for reason, (share, name) in ordered]
