"""The operations (two per multiply-add) that one erase cannot do without, layer by layer."""

from torch import Tensor

from unlearning.inventory import Layer
from unlearning.statistics import SecondMoment


def moment_operations(moment: SecondMoment) -> float:
    """Half of X^T X; nothing for rows that are kept as they are."""
    if isinstance(moment.held, Tensor):
        return 0.0
    return float(moment.groups * moment.rows * moment.d * (moment.d + 1))


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
