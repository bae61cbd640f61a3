"""What one shadow model leaves behind: its outputs on the samples of the audit, in a small file.

A worker trains a shadow model, unlearns it or not, writes its record and forgets the model; whoever gathers needs the
records alone. Outputs on single samples are personal data like the samples: they stay where the samples may be.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from unlearning.errors import OptionOutOfRange, UnlearningError
from unlearning.evaluation.audit.confidences import Labels, Vector, logit_scaled_confidence

Population = Literal["unlearned", "retrained", "released"]
FORMAT = 1
MAX_BYTES = 1 << 30
_FIELDS = {
    "format": ("iu", 0),
    "population": ("U", 0),
    "index": ("iu", 0),
    "seed": ("iu", 0),
    "samples": ("U", 0),
    "logits": ("f", 2),
    "labels": ("iu", 1),
    "z_logits": ("f", 2),
    "z_labels": ("iu", 1),
    "retain_accuracy": ("f", 0),
    "test_accuracy": ("f", 0),
}
"""Kinds of numbers and dimensions of every array in a file."""


class MalformedRecord(UnlearningError):
    """A file that is no record of a shadow model."""

    def __init__(self, got: str) -> None:
        super().__init__(f"Expected the record of a shadow model, got {got}.")


@dataclass(frozen=True, eq=False)
class ShadowRecord:
    """One shadow model's outputs, or those of the model that is about to be released.

    Attributes:
        population: "unlearned" (trained with the forget classes, then unlearned), "retrained" (trained without them) or
            "released" (the model under audit itself, which is no shadow model).
        index: Its place in the population, from 0.
        seed: Seed of its training; every shadow model of an audit has its own.
        samples: Name of the samples that were shown, for instance their digest; the same in all records of an audit.
        logits: Outputs (n, K) on training samples of the forget classes.
        labels: Their classes (n,), stored as int64.
        z_logits: Outputs (m, K) on population samples: of the same classes, in no model's training set.
        z_labels: Their classes (m,).
        retain_accuracy: On retained training samples, between 0 and 1.
        test_accuracy: On test samples of retained classes, between 0 and 1.
    """

    population: Population
    index: int
    seed: int
    samples: str
    logits: NDArray[np.floating[Any]]
    labels: Labels
    z_logits: NDArray[np.floating[Any]]
    z_labels: Labels
    retain_accuracy: float
    test_accuracy: float

    def __post_init__(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            OptionOutOfRange: an unknown population, a negative index, or an accuracy outside [0, 1].
        """
        if self.population not in get_args(Population):
            raise OptionOutOfRange("population", f"one of {get_args(Population)}", self.population)
        if self.index < 0:
            raise OptionOutOfRange("index", "at least 0", self.index)
        for name in ("retain_accuracy", "test_accuracy"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionOutOfRange(name, "between 0 and 1", getattr(self, name))
        for logits, labels in (("logits", "labels"), ("z_logits", "z_labels")):
            logit_scaled_confidence(getattr(self, logits), getattr(self, labels))
            object.__setattr__(self, labels, np.asarray(getattr(self, labels), np.int64))

    @property
    def phi(self) -> Vector:
        """The confidences on the samples under audit (n,)."""
        return logit_scaled_confidence(self.logits, self.labels)

    @property
    def z_phi(self) -> Vector:
        """The confidences on the population samples (m,)."""
        return logit_scaled_confidence(self.z_logits, self.z_labels)

    def save(self, file: Path | BinaryIO) -> None:
        """Write the record as .npz; equal records give equal bytes.

        Args:
            file: Where to; a path should end in .npz, or numpy appends it.
        """
        fields: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS if name != "format"}
        fields |= {name: float(fields[name]) for name in ("retain_accuracy", "test_accuracy")}
        np.savez(file, allow_pickle=False, format=FORMAT, **fields)

    @classmethod
    def load(cls, file: Path | BinaryIO) -> ShadowRecord:
        """Read a record; never runs code from the file.

        Args:
            file: What `save` wrote.

        Raises:
            MalformedRecord: it is something else, of another format, damaged, or larger than `MAX_BYTES`.

        Note:
            The errors of the constructor pass through, and `OSError` when the file cannot be read.
        """
        fields = _read(file)
        if int(fields["format"]) != FORMAT:
            raise MalformedRecord(f"format {int(fields['format'])}, this version reads {FORMAT}")
        return cls(
            population=cast(Population, str(fields["population"])),
            index=int(fields["index"]),
            seed=int(fields["seed"]),
            samples=str(fields["samples"]),
            retain_accuracy=float(fields["retain_accuracy"]),
            test_accuracy=float(fields["test_accuracy"]),
            **{name: fields[name] for name in ("logits", "labels", "z_logits", "z_labels")},
        )


def _read(file: Path | BinaryIO) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in _FIELDS):
            raise MalformedRecord(f"an archive with {sorted(member.filename for member in members)[:10]}")
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise MalformedRecord(f"more than {MAX_BYTES} bytes")
        # The names and sizes are known by now, and objects are refused.
        stored = cast(NpzFile, np.load(file, allow_pickle=False))  # noqa: TID251
        with stored:
            fields = {name: stored[name] for name in _FIELDS}
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise MalformedRecord(f"a file that cannot be read ({type(error).__name__})") from error
    for name, (kinds, ndim) in _FIELDS.items():
        if fields[name].dtype.kind not in kinds or fields[name].ndim != ndim:
            raise MalformedRecord(f"{name} as {fields[name].dtype} with {fields[name].ndim} dimensions")
    return fields
