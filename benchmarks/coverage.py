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
import importlib.util
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from unlearning import Layer, Untouched, erase_classes
from unlearning.capture import find_layers
from unlearning.inventory import read_rows, tensor_of

SAMPLES = 3
SIZES = (32, 56, 64, 96, 128, 224, 299)
MOST_EDITED = 150_000_000
WIDEST_ORACLE = 1280
ALPHA_R, ALPHA_F = 100.0, 3.0

# Options that let a builder take small inputs; the others need none, or take their own size only.
TORCHVISION: dict[str, Callable[[int], dict[str, Any]]] = {
    "vit": lambda size: {"image_size": size},
    "maxvit": lambda size: {"input_size": (size, size)},
    "inception": lambda _: {"init_weights": False},
    "googlenet": lambda _: {"init_weights": False},
}
TIMM: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": 64},
    "vit_base_patch16_siglip_224": {"img_size": 64},
    "deit3_small_patch16_224": {"img_size": 64},
    "beit_base_patch16_224": {"img_size": 64},
    "eva02_tiny_patch14_224": {"img_size": 56},
    "cait_xxs24_224": {"img_size": 64},
    "xcit_nano_12_p16_224": {"img_size": 64},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2},
    "mixer_s32_224": {"img_size": 64},
    "gmlp_s16_224": {"img_size": 64},
    "convnext_atto": {},
    "efficientnet_lite0": {},
    "mobilenetv4_conv_small": {},
    "mobilevit_xxs": {},
    "regnetx_002": {},
    "poolformer_s12": {},
    "sequencer2d_s": {"img_size": 64},
    "resnetv2_50x1_bit": {},
}
FUSED = ("in_proj_weight", "qkv.weight")
# Reasons of parameters that are matrices of a product, though one that cannot be edited.
PRODUCT = ("multiplied", "the multiplied weight", "stands behind", "takes part in a product", "a recurrence")


@dataclass(frozen=True)
class Row:
    """One line of the table; shares between 0 and 1."""

    name: str
    size: int
    parameters: int
    layers: int
    of_matrices: float
    of_all: float
    compared: dict[str, float]
    is_edited_whole: bool
    runs: bool
    untouched: dict[str, float]
    seconds: float


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    started = time.perf_counter()
    for name in arguments.only or names():
        row = examine(name)
        rows.append(row)
        print(_line(row), flush=True)
    seconds = time.perf_counter() - started
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if arguments.write:
        Path(arguments.write).write_text(_document(rows, seconds))


def names() -> list[str]:
    """Return all models of the table."""
    has_timm = importlib.util.find_spec("timm") is not None
    timm_names = [f"timm/{name}" for name in TIMM] if has_timm else []
    return [*torchvision.models.list_models(module=torchvision.models), *timm_names]


def examine(name: str) -> Row:
    """Build a model, edit it and compare."""
    started = time.perf_counter()
    model, size = _built(name)
    retain, forget = images(size, seed=1), images(size, seed=2) * 0.7 + 0.3
    settle(model, torch.cat([retain, forget]))
    found = find_layers(model, retain)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sampled = sampled_layers(model, found.layers, retain)
    is_whole = parameters <= MOST_EDITED
    before = {layer.weight: read_rows(model, layer)[0].clone() for layer in sampled}
    wanted = {layer.weight: updated(model, layer, retain, forget) for layer in sampled}
    erasure = erase_classes(
        model,
        retain=[retain],
        forget=[forget],
        alpha_r=ALPHA_R,
        alpha_f=ALPHA_F,
        layers=None if is_whole else list(wanted),
        max_rows=None,
    )
    erasure.apply_to(model)
    compared = {
        layer.weight: difference_of(before[layer.weight], read_rows(model, layer)[0], wanted[layer.weight])
        for layer in sampled
    }
    reached = sum(prod(layer.shape) for layer in found.layers)
    lost = sum(entry.parameters for entry in found.untouched if _is_matrix(model, entry))
    return Row(
        name,
        size,
        parameters,
        len(found.layers),
        reached / (reached + lost),
        reached / parameters,
        compared,
        is_whole,
        runs(model, retain),
        _reasons(found.untouched),
        time.perf_counter() - started,
    )


def updated(model: nn.Module, layer: Layer, retain: Tensor, forget: Tensor) -> Tensor:
    """Return the first group's matrix after the update as the paper writes it: SVDs, dense projections, float64."""
    m_r, m_f = (
        _importance(_observed(model, layer, side)[:, 0].double(), alpha)
        for side, alpha in ((retain, ALPHA_R), (forget, ALPHA_F))
    )
    identity = torch.eye(layer.d, dtype=torch.float64)
    return read_rows(model, layer)[0].double() @ (identity - m_f @ (identity - m_r)).T


def _importance(rows: Tensor, alpha: float) -> Tensor:
    # The SVD of the triangular factor has the singular values and directions of the rows, at the cost of a QR.
    triangle = torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
    u, sigma, _ = torch.linalg.svd(triangle.T, full_matrices=True)
    share = torch.zeros(len(u), dtype=torch.float64)
    share[: len(sigma)] = sigma**2 / (sigma**2).sum()
    weighed: Tensor = u @ torch.diag(alpha * share / ((alpha - 1) * share + 1)) @ u.T
    return weighed


def _observed(model: nn.Module, layer: Layer, x: Tensor) -> Tensor:
    """Return the inputs of a layer (n, groups, d) as hooks on its module see them; none if they do not.

    The projection of functional attention is never called; its inputs are those of the attention around it.
    """
    path = layer.modules[0]
    for place in (path, path.rpartition(".")[0]) if layer.weight.endswith(FUSED) else (path,):
        inputs = _hooked(model, place, x)
        holder = model.get_submodule(place)
        if isinstance(holder, nn.Conv2d):
            geometry: dict[str, Any] = {
                "padding": holder.padding,
                "dilation": holder.dilation,
                "stride": holder.stride,
            }
            columns = [functional.unfold(part, holder.kernel_size, **geometry).mT for part in inputs]
            inputs = [part.reshape(-1, part.shape[-1]) for part in columns]
        rows = [part.reshape(-1, layer.groups, layer.d) for part in inputs if part.shape[-1] == layer.groups * layer.d]
        if rows:
            return torch.cat(rows)
    return torch.empty(0, layer.groups, layer.d)


def _hooked(model: nn.Module, path: str, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = args[0] if args else next(iter(kwargs.values()))
        seen.append(first.detach().clone())

    handle = model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            model(x)
    finally:
        handle.remove()
    return seen


def sampled_layers(model: nn.Module, layers: tuple[Layer, ...], x: Tensor) -> list[Layer]:
    """Return a middle one of the fused attention weights and of plain Linear and Conv2d modules that hooks can see."""
    whole = [layer for layer in layers if layer.view is None]
    fused = [layer for layer in whole if layer.weight.endswith(FUSED) and layer.d <= WIDEST_ORACLE]
    plain = [layer for layer in whole if not layer.weight.endswith(FUSED) and _is_plain(model, layer)]
    narrow = [layer for layer in plain if layer.d <= WIDEST_ORACLE] or sorted(plain, key=lambda layer: layer.d)[:1]
    sampled = []
    for group in (fused, narrow):
        from_the_middle = [*group[len(group) // 2 :], *group[: len(group) // 2]]
        seen = (layer for layer in from_the_middle if len(_observed(model, layer, x)))
        sampled += list(islice(seen, 1))
    return sampled


def _is_plain(model: nn.Module, layer: Layer) -> bool:
    holder = model.get_submodule(layer.modules[0])
    if len(layer.modules) > 1 or f"{layer.modules[0]}.weight" != layer.weight:
        return False
    if isinstance(holder, nn.Conv2d):
        return isinstance(holder.padding, tuple) and holder.padding_mode == "zeros"
    return isinstance(holder, nn.Linear)


def _built(name: str) -> tuple[nn.Module, int]:
    """Return the model in evaluation mode, and the smallest size of image with which it can be built and run."""
    library, _, plain = name.rpartition("/")
    for size in SIZES if not library else (TIMM[plain].get("img_size", 64), 224):
        try:
            with seeded():
                model = _timm(plain) if library else _torchvision(plain, size)
            with torch.no_grad():
                model.eval()(images(size, seed=0))
        except (RuntimeError, ValueError, AssertionError, ZeroDivisionError):
            continue
        return model, size
    raise RuntimeError(f"{name} runs with none of the sizes")


def _torchvision(name: str, size: int) -> nn.Module:
    options = next((make(size) for prefix, make in TORCHVISION.items() if name.startswith(prefix)), {})
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def _timm(name: str) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, **TIMM[name])
    return model


@contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        yield


def settle(model: nn.Module, x: Tensor) -> None:
    """Let batch normalisation see the images: the activations of deep random networks grow or die without it."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001 - no public common class
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        model(x)
    model.eval()


def images(size: int, seed: int) -> Tensor:
    return torch.randn(SAMPLES, 3, size, size, generator=torch.Generator().manual_seed(seed))


def runs(model: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        return bool(torch.isfinite(model(x)).all())


def difference_of(before: Tensor, got: Tensor, wanted: Tensor) -> float:
    """Return how far the edit is from the wanted one, relative to the wanted one's size."""
    return float((got.double() - wanted).norm() / (wanted - before).norm())


def _is_matrix(model: nn.Module, entry: Untouched) -> bool:
    return entry.reason.startswith(PRODUCT) and tensor_of(model, entry.name).ndim > 1


def _reasons(untouched: tuple[Untouched, ...]) -> dict[str, float]:
    shares: Counter[str] = Counter()
    for entry in untouched:
        shares[entry.reason] += entry.share  # type: ignore[assignment] # a Counter of shares
    return dict(shares.most_common())


def _line(row: Row) -> str:
    compared = ", ".join(f"{weight} {difference:.0e}" for weight, difference in row.compared.items()) or "none"
    return (
        f"{row.name:34} {row.size:4} px {row.parameters / 1e6:7.1f} M  {row.layers:4} layers  "
        f"{100 * row.of_matrices:6.2f} % of matrices {100 * row.of_all:6.2f} % of all  "
        f"{'runs' if row.runs else 'FAILS'}  {row.seconds:5.1f} s  {compared}"
    )


def _document(rows: list[Row], seconds: float) -> str:
    lines = [
        "# Coverage",
        "",
        f"Printed by `python benchmarks/coverage.py --write docs/coverage.md` with torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}{_timm_version()}; {seconds / 60:.0f} minutes on "
        f"{torch.get_num_threads()} core(s).",
        "",
        "Random weights. `matrices`: share of the numbers in weight matrices (linear, convolution, attention) that the",
        "engine edits. `all`: share of all parameters. `difference`: distance between the edited matrix and a float64",
        "SVD oracle that shares no code with the engine, relative to the size of the edit, for each compared layer.",
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
    difference = ", ".join(f"{difference:.0e}" for difference in row.compared.values()) or "none"
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


def _timm_version() -> str:
    if importlib.util.find_spec("timm") is None:
        return ""
    import timm

    return f", timm {timm.__version__}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models to examine; timm's as timm/NAME")
    parser.add_argument("--write", metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    return parser.parse_args()


if __name__ == "__main__":
    main()
