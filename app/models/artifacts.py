"""Opening stored weights for sending, after reading them again: the digest in the row is the only defence.

A disk can hand back other bytes than it was given, at the right length and with a valid header. So a file is hashed
before it is served, through the very descriptor it is then served from, and remembered as sound under its digest,
inode, modification time and size for as long as this process lives.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import BinaryIO
from weakref import WeakKeyDictionary

from app.dependencies import Caller
from app.models.download import Download
from app.models.service import ready_version
from app.resources import Resources
from core.errors import DigestMismatch
from core.ledger.entries import Record, append
from core.states import VersionState
from models_store.attesting import artifact_name
from models_store.errors import UnknownBlob
from models_store.lineage.break_glass import Reason, break_glass, refuse_unquarantined
from models_store.lineage.holders import holder_of
from models_store.lineage.retired import ModelPurged
from models_store.registry import find_model, find_version
from models_store.storage import Storage, StoredBlob
from models_store.tables import ModelVersion

CHUNK_BYTES = 1 << 20
MAX_REMEMBERED = 10_000

_Identity = tuple[str, int, int, int, int]
MISSING = "missing"


class CheckedFiles:
    """What this process knows about stored files: the digest that each of them really has."""

    def __init__(self) -> None:
        self._found: dict[_Identity, str] = {}
        self._reported: set[tuple[str, str]] = set()
        self._lock = Lock()

    def open(self, store: Storage, sha256: str) -> tuple[BinaryIO, int]:
        """Open a blob whose bytes are those it is named by; the caller closes it.

        Returns:
            The open file, at its start, and its size in bytes.

        Raises:
            DigestMismatch: the bytes are damaged or gone.
        """
        try:
            file = store.open(sha256)
        except UnknownBlob as error:
            msg = f"Expected stored bytes with SHA-256 {sha256}, got none: they are gone from the store."
            raise DigestMismatch(msg, sha256=sha256, found=MISSING) from error
        try:
            self._refuse_damaged(file, sha256)
            return file, os.fstat(file.fileno()).st_size
        except BaseException:
            file.close()
            raise

    def is_news(self, damage: DigestMismatch) -> bool:
        """Whether this damage has not been reported yet."""
        return self._name(damage) not in self._reported

    def reported(self, damage: DigestMismatch) -> None:
        """Remember that this damage stands in the ledger: asking again must not grow it without end."""
        self._reported.add(self._name(damage))

    def _refuse_damaged(self, file: BinaryIO, sha256: str) -> None:
        found = self._digest(file, sha256)
        if found != sha256:
            msg = f"Expected stored bytes with SHA-256 {sha256}, got {found}: they are damaged and not sent."
            raise DigestMismatch(msg, sha256=sha256, found=found)

    def _digest(self, file: BinaryIO, sha256: str) -> str:
        identity = _identity(file, sha256)
        found = self._found.get(identity)
        if found is not None:
            return found
        # One at a time: many callers of a file that is new to us cost one reading of it, not one each.
        with self._lock:
            if identity not in self._found:
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                file.seek(0)
                if len(self._found) >= MAX_REMEMBERED:
                    self._found.clear()
                self._found[identity] = digest.hexdigest()
            return self._found[identity]

    @staticmethod
    def _name(damage: DigestMismatch) -> tuple[str, str]:
        return str(damage.extensions.get("sha256")), str(damage.extensions.get("found"))


_CHECKED: WeakKeyDictionary[Resources, CheckedFiles] = WeakKeyDictionary()
"""One for each application in this process: what is reported in one ledger is news in another."""


def open_artifact(held: Resources, who: Caller, name: str, number: int) -> Download:
    """Open a version's weights; the caller closes them.

    Its transactions are its own: none is open while gigabytes are read again, and the entry about damage is committed
    although the request fails.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownVersion: the model has no such version.
        VersionNotReady: it is still being checked, or was refused.
        ModelQuarantined: it holds a deleted class.
        ModelPurged: its bytes are gone on purpose.
        DigestMismatch: the stored bytes are damaged or gone; the ledger says so from now on.
    """
    with held.database.reading() as session:
        version = ready_version(session, who, name, number)
    return _opened(held, version)


def open_behind_glass(held: Resources, who: Caller, name: str, number: int, reason: Reason) -> Download:
    """Open the weights of a version in quarantine; the ledger says so before this returns. The caller closes them.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownVersion: the model has no such version.
        NotQuarantined: it is not in quarantine.
        ModelPurged: its bytes are gone on purpose.
        DigestMismatch: the stored bytes are damaged or gone.
    """
    with held.database.reading() as session:
        version = find_version(session, find_model(session, who.tenant, name), number)
        refuse_unquarantined(session, version)
    download = _opened(held, version)
    try:
        with held.database.writing() as session:
            found = find_version(session, find_model(session, who.tenant, name), number)
            break_glass(session, found, reason, actor=who.actor)
    except BaseException:
        download.file.close()
        raise
    return download


@contextmanager
def purged_stay_out(held: Resources, who: Caller, blob: StoredBlob) -> Iterator[None]:
    """Remove uploaded bytes again that turn out to have been purged, unless somebody needs them."""
    try:
        yield
    except ModelPurged:
        with held.database.reading() as session:
            holder = holder_of(session, who.tenant, blob.sha256)
        if holder is None:
            held.storage.remove(blob.sha256)
        raise


def _opened(held: Resources, version: ModelVersion) -> Download:
    checked = _CHECKED.setdefault(held, CheckedFiles())
    try:
        file, size_bytes = checked.open(held.storage, version.artifact_sha256)
    except DigestMismatch as damage:
        _report(held, checked, version, damage)
        raise
    return Download(file, version.artifact_sha256, size_bytes, artifact_name(version), _marks(version))


def _marks(version: ModelVersion) -> dict[str, str]:
    marks = {}
    if version.verdict is not None:
        marks["Expunge-Verdict"] = str(version.verdict["outcome"])
    if version.state == VersionState.QUARANTINED:
        marks["Expunge-State"] = version.state
    if version.overridden_by is not None:
        marks["Expunge-Overridden-By"] = version.overridden_by
    return marks


def _report(held: Resources, checked: CheckedFiles, version: ModelVersion, damage: DigestMismatch) -> None:
    if not checked.is_news(damage):
        return
    data = {
        "model": version.model.name,
        "version": version.number,
        "sha256": version.artifact_sha256,
        "found": damage.extensions["found"],
    }
    with held.database.writing() as session:
        append(session, Record(type="artifact.damaged", tenant=version.tenant, actor="system:api", data=data))
    checked.reported(damage)


def _identity(file: BinaryIO, sha256: str) -> _Identity:
    status = os.fstat(file.fileno())
    return sha256, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size
