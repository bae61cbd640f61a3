"""The operations (two per multiply-add) that one erase cannot do without, layer by layer."""

from torch import Tensor, nn

from unlearning.capture import capture
from unlearning.inventory import Layer
from unlearning.patches import Drawn, PatchRows
from unlearning.statistics import SecondMoment


def kept_shares(model: nn.Module, batch: Tensor) -> dict[str, float]:
    """Return for each layer the share of products of two columns in which neither lies outside the image."""
    shares: dict[str, float] = {}

    def sink(layer: Layer, drawn: Drawn) -> None:
        shares[layer.weight] = drawn.rows.kept_share if isinstance(drawn.rows, PatchRows) else 1.0

    capture(model, [batch], sink)
    return shares


def moment_operations(moment: SecondMoment, kept_share: float) -> float:
    """Half of X^T X without the zeros of the padding; nothing for rows that are kept as they are."""
    if isinstance(moment.held, Tensor):
        return 0.0
    return kept_share * float(moment.groups * moment.rows * moment.d * (moment.d + 1))


def solve_operations(layer: Layer, retain: SecondMoment, forget: SecondMoment) -> float:
    """Two factorisations, and W (I - M_r) M_f by the cheaper of solving for W or for the identity."""
    groups, m, d = layer.shape
    sides = (retain, forget)
    factors = sum(_factor(side) for side in sides)
    direct = factors + sum(_product(side, m) for side in sides)
    dense = factors + sum(_product(side, d) for side in sides) + 2 * m * d**2
    return groups * min(direct, dense)


def _factor(side: SecondMoment) -> float:
    n, d = side.rows, side.d
    return n**2 * d + n**3 / 3 if isinstance(side.held, Tensor) else d**3 / 3


def _product(side: SecondMoment, m: int) -> float:
    n, d = side.rows, side.d
    return 4 * m * n * d + 2 * m * n**2 if isinstance(side.held, Tensor) else 2 * m * d**2
