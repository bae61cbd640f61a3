"""What every model of an audit is shown, and the record of what it answered."""

from dataclasses import dataclass
from io import BytesIO
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from unlearning.evaluation import predict_logits
from unlearning.evaluation.audit import Population, ShadowRecord
from worker.pipeline.data import Images, attacked, beside
from worker.pipeline.outputs import digest
from worker.shadows.subject import Splits, Subject


@dataclass(frozen=True)
class Shown:
    """The images, the same for all models of an audit.

    Attributes:
        forgotten: Training images of the classes that the request erased, at most `MAX_ATTACKED`.
        population: Test images of the same classes, in no model's training set.
        retained: Training images of the retained classes.
        tested: Test images of the retained classes.
        name: Digest of all that decides which images these are.
    """

    forgotten: Images
    population: Images
    retained: Images
    tested: Images
    name: str

    @classmethod
    def of(cls, subject: Subject, splits: Splits, *, seed: int) -> Self:
        """Draw the images by the audit's seed."""
        erase, forget = subject.loaded.erase, subject.loaded.forget
        # Records of several classes that were drawn from all of them together are of other images.
        drawn = ["of each class"] if len(erase) > 1 else []
        return cls(
            attacked(splits.train, forget=erase, seed=seed),
            attacked(splits.test, forget=erase, seed=seed),
            beside(splits.train, forget=forget, seed=seed),
            beside(splits.test, forget=forget, seed=seed),
            digest([subject.loaded.files, erase, forget, seed, *drawn]),
        )

    def to(self, network: nn.Module, population: Population, index: int, seed: int) -> ShadowRecord:
        """Show the images to a network, which is in evaluation mode.

        Raises:
            NonFinite: an answer is NaN or infinite.
        """
        return ShadowRecord(
            population=population,
            index=index,
            seed=seed,
            samples=self.name,
            logits=_logits(network, self.forgotten),
            labels=self.forgotten.labels,
            z_logits=_logits(network, self.population),
            z_labels=self.population.labels,
            retain_accuracy=_accuracy(network, self.retained),
            test_accuracy=_accuracy(network, self.tested),
        )


def to_bytes(record: ShadowRecord) -> bytes:
    """A record as it is stored; equal records give equal bytes."""
    buffer = BytesIO()
    record.save(buffer)
    return buffer.getvalue()


def _logits(network: nn.Module, images: Images) -> NDArray[np.float32]:
    return predict_logits(network, images.batches()).numpy().astype(np.float32)


def _accuracy(network: nn.Module, images: Images) -> float:
    return float((_logits(network, images).argmax(axis=1) == images.labels).mean())
