"""The demonstration's data: scikit-learn's bundled handwritten digits, half to learn from, half held out."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LABELS = tuple(str(digit) for digit in range(10))
SIDE = 8
"""Height and width of an image; there is one channel."""
MEAN, STD = 0.3, 0.37
"""About the mean and deviation of the pixels, scaled to 0..1."""

_BRIGHTEST = 16
"""The bundled images count the ink in 4 x 4 cells: 0 to 16."""


@dataclass(frozen=True)
class Split:
    """Images (n, 8, 8, 1) uint8 and their labels (n,) int64."""

    x: NDArray[np.uint8]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Digits:
    """The two halves."""

    train: Split
    test: Split

    def as_npz(self) -> bytes:
        """The file that is uploaded: `x_train`, `y_train`, `x_test`, `y_test`."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x_train=self.train.x, y_train=self.train.y, x_test=self.test.x, y_test=self.test.y)
        return buffer.getvalue()


def load_digits(seed: int) -> Digits:
    """Split the 1,797 images into random halves, each with the same share of every digit.

    Args:
        seed: decides which image lands in which half.
    """
    from sklearn.datasets import load_digits as bundled

    bunch = bundled()
    pixels = np.rint(bunch.images * (255 / _BRIGHTEST)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    train, test = _halves(labels, np.random.default_rng(seed))
    return Digits(Split(pixels[train], labels[train]), Split(pixels[test], labels[test]))


def _halves(labels: NDArray[np.int64], random: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of two halves; of an odd class the image left over goes to train and test in turn."""
    halves: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    odd = 0
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        cut = len(members) // 2 + (len(members) % 2) * ((odd + 1) % 2)
        odd += len(members) % 2
        halves[0].append(members[:cut])
        halves[1].append(members[cut:])
    return np.sort(np.concatenate(halves[0])), np.sort(np.concatenate(halves[1]))
