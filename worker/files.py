"""A data set's files, found again and checked against the digests under which they were read first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DigestMismatch
from core.settings import Settings
from models_store.archives import ArchiveLimits
from models_store.datasets import DatasetLimits, Source
from models_store.errors import MalformedDataset
from models_store.storage import LocalStorage, hash_file
from models_store.tables import Dataset, DatasetSource


@dataclass(frozen=True)
class CheckedFile:
    """A file whose bytes have just been hashed."""

    row_id: int
    split: str
    path: Path
    sha256: str
    size_bytes: int

    @property
    def source(self) -> Source:
        return Source(self.path, None if self.split == "all" else self.split)


def checked_files(dataset: Dataset, storage: LocalStorage, settings: Settings) -> list[CheckedFile]:
    """Every file of the data set, read once for its digest.

    Raises:
        DigestMismatch: a file has changed since it was validated.
        MalformedDataset: a path leads nowhere, or out of the operator's folder.
    """
    return [_checked(row, storage, settings) for row in dataset.sources]


def check_unchanged(files: list[CheckedFile], rows: Sequence[DatasetSource]) -> None:
    """Hash once more, after reading, those files that somebody else could have changed since: the operator's own.

    Raises:
        DigestMismatch: a file changed while it was read.
    """
    theirs = {row.id for row in rows if row.path is not None}
    for file in files:
        if file.row_id in theirs and hash_file(file.path)[0] != file.sha256:
            msg = f"Expected the file of split {file.split!r} to stay as it is while it is read, got other bytes."
            raise DigestMismatch(msg)


def limits_of(settings: Settings) -> DatasetLimits:
    """What reading may cost, as the operator chose."""
    most = settings.max_dataset_bytes
    return DatasetLimits(archive=ArchiveLimits(max_bytes=most), max_array_bytes=most)


def _checked(row: DatasetSource, storage: LocalStorage, settings: Settings) -> CheckedFile:
    if row.path is not None:
        path = _below_root(row.path, settings)
    elif row.sha256 is not None:
        path = storage.path(row.sha256)
    else:
        msg = f"Expected the file of split {row.split!r} to have a path or a digest, got neither."
        raise MalformedDataset(msg)
    found, size_bytes = hash_file(path)
    if row.sha256 is not None and found != row.sha256:
        msg = f"Expected the file of split {row.split!r} to have SHA-256 {row.sha256}, got {found}."
        raise DigestMismatch(msg)
    return CheckedFile(row.id, row.split, path, found, size_bytes)


def _below_root(text: str, settings: Settings) -> Path:
    """Checked here too: between registration and now a link may have moved."""
    root = settings.dataset_root
    if root is None:
        msg = "Expected EXPUNGE_DATASET_ROOT to be set for a data set named by path, got nothing."
        raise MalformedDataset(msg)
    path = (root / text).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        msg = "Expected the data set's path to be a file below the operator's folder, got something else."
        raise MalformedDataset(msg)
    return path
