"""The measurements, each a function that runs in a process of its own and returns figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from benchmarks.speed import textbook
from benchmarks.speed.meters import PeakMemory, Split, best, timed
from benchmarks.speed.operations import kept_shares, moment_operations, solve_operations
from benchmarks.speed.subjects import CUDA_SUBJECTS, FORGET, MAX_ROWS, SUBJECTS, Images, Subject
from models_store.convnets import CifarVgg11
from unlearning import LayerStatistics, choose, collect, erase_classes, erase_from_statistics
from unlearning.arithmetic import swift_products
from unlearning.bench import Bench
from unlearning.inventory import Layer, assemble, read_rows
from unlearning.modes import evaluating
from unlearning.projection import LayerUpdate, project
from unlearning.statistics import SecondMoment, SecondMomentSum
from unlearning.symmetric import BlockSymmetric, Factor
from unlearning.tuning import ALPHAS_F, ALPHAS_R, DEPTHS

Json = dict[str, Any]
Result = TypeVar("Result")
ALPHAS = (100.0, 3.0)


@dataclass(frozen=True)
class Task:
    """What a child process is told.

    Attributes:
        images: File of images.
        models: Folder of trained weights, if any.
        device: Where to compute.
        subject: Name of the network, where there is a choice.
        weights: File for the new weights, where they are compared.
    """

    images: Path
    models: Path | None
    device: str
    subject: str = ""
    weights: Path | None = None

    def network(self) -> nn.Module:
        return self.what.network(self.models).to(self.device)

    def sides(self, samples: int | None = None) -> tuple[list[Tensor], list[Tensor]]:
        images = Images.read(self.images)
        retain, forget = (images.batches(side, self.what, samples) for side in ("retain", "forget"))
        return [batch.to(self.device) for batch in retain], [batch.to(self.device) for batch in forget]

    @property
    def what(self) -> Subject:
        """The network and the size of its sides: larger ones on a CUDA device."""
        subjects = CUDA_SUBJECTS if self.device == "cuda" else SUBJECTS
        return subjects.get(self.subject) or SUBJECTS[self.subject]


def engine_erase(task: Task) -> Json:
    """One erase by the engine: seconds by stage, peak memory, new weights."""
    model, (retain, forget) = task.network(), task.sides()
    _warm(model, retain)
    peak = PeakMemory(torch.device(task.device))
    collected = Split("forget")
    seconds, erasure = timed(
        lambda: erase_classes(
            model,
            retain=retain,
            forget=forget,
            alpha_r=ALPHAS[0],
            alpha_f=ALPHAS[1],
            max_rows=task.what.max_rows,
            progress=collected,
        )
    )
    extra = peak.extra_mb()
    _save(task, dict(erasure.weights))
    with evaluating(model):
        forward, _ = timed(lambda: [model(batch) for batch in (*retain, *forget)])
    return {
        "samples": task.what.samples,
        "max_rows": task.what.max_rows,
        "forward_seconds": forward,
        "seconds": seconds,
        "collect_seconds": collected.seconds,
        "update_seconds": seconds - collected.seconds,
        "extra_mb": extra,
    }


def textbook_erase(task: Task) -> Json:
    """The same by the textbook."""
    model, (retain, forget) = task.network(), task.sides()
    _warm(model, retain)
    peak = PeakMemory(torch.device(task.device))
    say = partial(print, "   ", flush=True)
    seconds, (weights, stages) = timed(lambda: textbook.erase(model, retain, forget, ALPHAS, task.what.max_rows, say))
    extra = peak.extra_mb()
    _save(task, weights)
    return {"seconds": seconds, **{f"{stage}_seconds": value for stage, value in stages.items()}, "extra_mb": extra}


def machine(task: Task) -> Json:
    """Seconds of each stage of an erase, and those that its unavoidable work would take."""
    model, (retain, forget) = task.network(), task.sides()
    plain, rate = _product_rates(task.device)
    _warm(model, retain)
    with evaluating(model):
        forward = best(lambda: [model(batch) for batch in (*retain, *forget)], times=2)
    gather, (kept, gone) = timed(lambda: _statistics(model, retain, forget, task.what.max_rows))
    solve, _ = timed(lambda: erase_from_statistics(model, kept, gone, alpha_r=ALPHAS[0], alpha_f=ALPHAS[1]))
    pairs = [(layer, kept.moments[layer.weight], gone.moments[layer.weight]) for layer in kept.layers]
    shares = kept_shares(model, retain[0])
    moments = sum(moment_operations(side, shares[layer.weight]) for layer, *sides in pairs for side in sides)
    solves = sum(solve_operations(*pair) for pair in pairs)
    ideal_gather, ideal_solve = forward + moments / rate, solves / rate
    return {
        "product_gflops": rate / 1e9,
        "plain_product_gflops": plain / 1e9,
        "forward_seconds": forward,
        "moment_gflop": moments / 1e9,
        "solve_gflop": solves / 1e9,
        "collect": {"seconds": gather, "ideal": ideal_gather, "ratio": gather / ideal_gather},
        "update": {"seconds": solve, "ideal": ideal_solve, "ratio": solve / ideal_solve},
        "all": {
            "seconds": gather + solve,
            "ideal": ideal_gather + ideal_solve,
            "ratio": (gather + solve) / (ideal_gather + ideal_solve),
        },
    }


def kernels(task: Task) -> Json:
    """Second moment, factorisation and solve: in half-kept blocks, and by the library on whole matrices."""
    plain, rate = _product_rates(task.device)
    found: Json = {"product_gflops": rate / 1e9, "plain_product_gflops": plain / 1e9}
    for d in (576, 1152, 2304, 4608):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, 4096, d, generator=generator).to(task.device)
        w = torch.randn(1, 512, d, generator=generator).to(task.device)
        sums = BlockSymmetric.zeros(d, dtype=x.dtype, device=task.device)
        a = BlockSymmetric.zeros(d, dtype=x.dtype, device=task.device)
        a.add_product(x / 4096**0.5)
        whole = a.dense() + torch.eye(d, device=task.device)
        factor, library = _factor(a), torch.linalg.cholesky(whole)
        found[str(d)] = {
            "moment": best(_swift(partial(sums.add_product, x))),
            "moment_library": best(partial(torch.matmul, x.mT, x)),
            "factor": best(_swift(partial(_factor, a))),
            "factor_library": best(partial(torch.linalg.cholesky, whole)),
            "solve": best(_swift(partial(factor.right_solve, w))),
            "solve_library": best(partial(torch.cholesky_solve, w.mT, library)),
            "product": best(_swift(partial(a.right_product, w))),
            "eigendecomposition": best(partial(torch.linalg.eigh, whole), times=1),
        }
    return found


def pairs(task: Task) -> Json:
    """25 pairs of alphas, and 25 times one pair; evaluation not counted."""
    model, (retain, forget) = task.network(), task.sides()
    kept, gone = _statistics(model, retain, forget)
    single = many = 0.0
    for layer in kept.layers:
        update = _update(model, layer, kept, gone)
        single += best(_swift(partial(update.once, *ALPHAS)), times=1)
        many += timed(_swift(partial(_grid, update)))[0]
    return {"one_pair_seconds": single, "25_pairs_seconds": many, "share_of_25_updates": many / (25 * single)}


def evaluation(task: Task) -> Json:
    """Seconds to judge one candidate on 2,000 validation samples, and to choose among all."""
    model, (retain, forget) = task.network(), task.sides()
    images = Images.read(task.images)
    kept, gone = _statistics(model, retain, forget)
    bench = Bench.of(model, images.validation.to(task.device), images.labels, {FORGET})
    rows = {layer.weight: _update(model, layer, kept, gone).once(*ALPHAS) for layer in kept.layers}
    names = list(rows)
    found: Json = {}
    for depth in DEPTHS:
        tail = names[int(depth * len(names)) :]
        edit = assemble(model, {name: rows[name] for name in tail}, kept.layers)
        found[f"from layer {len(names) - len(tail) + 1} of {len(names)}"] = {
            "first_seconds": timed(partial(bench.judge, edit))[0],
            "later_seconds": best(partial(bench.judge, edit), times=2),
            "kept_mb": bench.replay(edit.keys()).num_bytes / 1e6,
        }
    grid = partial(
        choose, model, kept, gone, inputs=images.validation.to(task.device), labels=images.labels, classes={FORGET}
    )
    found["choose, with replay"] = timed(grid)[0]
    found["choose, forwards in full"] = timed(partial(grid, cache_bytes=0))[0]
    return found


def growth_samples(task: Task) -> Json:
    """Cost of an erase against the number of samples per side."""
    return {str(n): _cost(task.network(), *task.sides(n)) for n in (100, 300, 900, 1800, 3600)}


def growth_width(task: Task) -> Json:
    """Cost of one square layer against its width: 10,000 rows per side, and 900."""
    found = {}
    for d in (512, 1024, 2048, 4096, 8192):
        layer = Layer("w", "linear", (), d=d, m=d, groups=1)
        for n in (900, MAX_ROWS):
            seconds, kept = timed(_swift(partial(_moment, n, d, 0, task.device)))
            gather, gone = timed(_swift(partial(_moment, n, d, 1, task.device)))
            w = torch.randn(layer.shape, generator=torch.Generator().manual_seed(2)).to(task.device)
            solve, _ = timed(_swift(partial(project, w, kept, gone, *ALPHAS)))
            found[f"{d}, {n} rows"] = {"collect_seconds": seconds + gather, "update_seconds": solve}
    return found


def growth_classes(task: Task) -> Json:
    """Cost of an erase against the number of classes; the samples stay 900 per side."""
    return {str(number): _cost(CifarVgg11(number).eval().to(task.device), *task.sides()) for number in (10, 100, 1000)}


MEASURES: dict[str, Callable[[Task], Json]] = {
    measure.__name__: measure
    for measure in (
        engine_erase,
        textbook_erase,
        machine,
        kernels,
        pairs,
        evaluation,
        growth_samples,
        growth_width,
        growth_classes,
    )
}


def _statistics(
    model: nn.Module, retain: list[Tensor], forget: list[Tensor], max_rows: int = MAX_ROWS
) -> tuple[LayerStatistics, LayerStatistics]:
    return collect(model, retain, max_rows=max_rows), collect(model, forget, max_rows=max_rows, side="forget")


def _update(model: nn.Module, layer: Layer, kept: LayerStatistics, gone: LayerStatistics) -> LayerUpdate:
    return LayerUpdate(layer, read_rows(model, layer), kept.moments[layer.weight], gone.moments[layer.weight])


def _cost(model: nn.Module, retain: list[Tensor], forget: list[Tensor]) -> Json:
    gather, (kept, gone) = timed(lambda: _statistics(model, retain, forget))
    solve, _ = timed(lambda: erase_from_statistics(model, kept, gone, alpha_r=ALPHAS[0], alpha_f=ALPHAS[1]))
    return {"collect_seconds": gather, "update_seconds": solve}


def _grid(update: LayerUpdate) -> None:
    for alpha_f in ALPHAS_F:
        for alpha_r in ALPHAS_R:
            update.at(alpha_r, alpha_f)


def _factor(matrix: BlockSymmetric) -> Factor:
    return Factor(matrix.scaled(torch.ones(1, device=matrix.blocks[0].device), 1.0))


def _moment(n: int, d: int, seed: int, device: str) -> SecondMoment:
    sums, generator = SecondMomentSum(d), torch.Generator().manual_seed(seed)
    block = torch.randn(min(n, 500), 1, d, generator=generator).to(device)
    for _ in range(n // len(block)):
        sums.add(block)
    sums.add(block[: n % len(block)])
    return sums.finish()


def _product_rates(device: str) -> tuple[float, float]:
    """Operations per second of a large square product: PyTorch's unless told otherwise, and the best there is."""
    a = torch.randn(4096, 4096, generator=torch.Generator().manual_seed(0)).to(device)
    product = partial(torch.mm, a, a)
    plain, swift = (2 * 4096**3 / best(run, times=5) for run in (product, _swift(product)))
    return plain, max(plain, swift)


def _swift(run: Callable[[], Result]) -> Callable[[], Result]:
    """The same under the setting that the engine's public functions work under."""
    return swift_products()(run)


def _warm(model: nn.Module, batches: list[Tensor]) -> None:
    """Let the libraries load what they load once."""
    collect(model, [batches[0][:2]], max_rows=100)
    torch.linalg.svd(torch.eye(8))


def _save(task: Task, weights: dict[str, Tensor]) -> None:
    if task.weights is not None:
        safetensors.torch.save_file({name: value.cpu().contiguous() for name, value in weights.items()}, task.weights)
