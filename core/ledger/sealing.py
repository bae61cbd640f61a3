"""Signing the ledger's head, and refusing to when the ledger is not what it was.

Rules, in order, before a checkpoint is signed:

1. Every newer entry is read back and followed: bytes, links, hashes, the columns beside them.
2. What they add up to is the head row.
3. The newest checkpoint signed before, as the database has it and as the file beside the key has it, bears our
   signature, and a consistency proof shows that it is the beginning of this ledger.

Then it is signed, stored and remembered outside the database. If one of them fails nothing is signed, and `/readyz` is
red until it holds again. One process signs at a time.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.errors import NotFound, where_it_broke
from core.ledger.checkpoints import Checkpoint, open_checkpoint
from core.ledger.following import Position, follow, position_at, refuse_other_head, rows_after
from core.ledger.nodes import LedgerDamaged, consistency_proof
from core.ledger.remembering import recall, remember
from core.ledger.tables import LedgerHead, StoredCheckpoint
from core.ledger.tree import root_of
from core.signing.keyring import BadKeyFile, KeyFile, Keyring
from core.signing.notes import BadNote, sign
from core.signing.published import disagreement

ADVISORY_LOCK = 0x6578_7075_6E67
CHUNK = 1000

_log = logging.getLogger("expunge.ledger")


class NoCheckpoint(NotFound):
    """Nothing has been signed."""

    slug = "no-checkpoint"
    title = "No such checkpoint"


@dataclass(frozen=True)
class Health:
    """Whether checkpoints can be signed, in a sentence."""

    holds: bool
    sentence: str


class Sealer:
    """Makes checkpoints of one database's ledger; one per process, safe for threads."""

    def __init__(self, database: Database, keys: KeyFile, *, interval: timedelta) -> None:
        self.keys = keys
        self._database = database
        self._interval = interval
        self._lock = threading.Lock()
        self._newest_note: str | None = None
        self._position: Position | None = None
        self._problem: str | None = None

    @property
    def memory(self) -> Path:
        """The file beside the key that holds the newest checkpoint signed here."""
        return self.keys.path.with_name(self.keys.path.name + ".newest-checkpoint")

    def current(self, *, covering: int = -1) -> StoredCheckpoint:
        """The newest checkpoint: a new one if the ledger has grown and the last is older than the interval.

        Args:
            covering: number of an entry that it must cover: a new one is signed, however young the last is.

        Raises:
            NoCheckpoint: there is none, and no key to sign one with.
            LedgerDamaged: the ledger is not what was signed; nothing was signed.
        """
        with self._lock:
            ring = self.keys.current()
            with self._database.reading() as session:
                newest = newest_checkpoint(session)
                is_due = newest is None or (
                    _size(session) != newest.size
                    and (covering >= newest.size or newest.signed_at + self._interval <= database_now(session))
                )
            if ring is not None and is_due:
                newest = self._seal_and_tell(ring)
        if newest is None:
            msg = "Expected a signing key, got none; the operator makes one with `expunge keys init`."
            raise NoCheckpoint(msg)
        self._newest_note = newest.note
        return newest

    def newest_known(self, session: Session) -> str | None:
        """The newest checkpoint this process has seen, for a receipt; asks the database only if it has seen none."""
        if self._newest_note is None and (stored := newest_checkpoint(session)) is not None:
            self._newest_note = stored.note
        return self._newest_note

    def examine(self) -> Health:
        """Whether the newest signed checkpoint is still the beginning of the ledger; a few milliseconds."""
        try:
            ring = self.keys.current()
            if ring is None:
                return Health(holds=True, sentence="No signing key: neither checkpoints nor receipts are signed.")
            with self._database.reading() as session:
                self._consistent(session, ring)
                untold = disagreement(session, ring)
        except (LedgerDamaged, BadKeyFile) as error:
            return Health(holds=False, sentence=str(error))
        if (problem := self._problem or untold) is not None:
            return Health(holds=False, sentence=problem)
        return Health(holds=True, sentence="The ledger is consistent with the newest signed checkpoint.")

    def run(self, stop: threading.Event) -> None:
        """Sign whenever it is due, until `stop` is set; what goes wrong is logged and tried again."""
        while not stop.wait(self._interval.total_seconds()):
            try:
                if self.keys.current() is not None:
                    self.current()
            except SQLAlchemyError as error:
                _log.warning("checkpoint not signed, database unavailable: %s", type(error).__name__)
            except (LedgerDamaged, BadKeyFile) as error:
                _log.error("checkpoint refused: %s", error)
            except Exception as error:  # noqa: BLE001 without this thread nothing would be signed any more
                _log.error("signing checkpoints broke: %s", where_it_broke(error))

    def _seal_and_tell(self, ring: Keyring) -> StoredCheckpoint:
        try:
            sealed = self._seal(ring)
        except LedgerDamaged as error:
            self._problem = str(error)
            raise
        self._problem = None
        remember(self.memory, sealed.note, sealed.size)
        return sealed

    def _seal(self, ring: Keyring) -> StoredCheckpoint:
        # Most of the way is gone in short reading transactions, so that writers wait for the last few entries only.
        position = self._follow(self._position or self._start(ring))
        with self._database.writing() as session:
            if session.get_bind().dialect.name == "postgresql":
                session.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            newest, head = self._consistent(session, ring)
            while position.size < head.tree_size:
                rows = rows_after(session, position, limit=min(CHUNK, head.tree_size - position.size))
                if not rows:
                    break
                position = follow(position, rows)
            refuse_other_head(position, head)
            self._position = position
            if newest is not None and newest.size == head.tree_size:
                return newest
            return _sign(session, ring, position)

    def _start(self, ring: Keyring) -> Position:
        """Where a fresh process begins: at the newest checkpoint, because what lies before it was followed then."""
        with self._database.reading() as session:
            newest, _ = self._consistent(session, ring)
            return position_at(session, newest.size if newest is not None else 0)

    def _follow(self, position: Position) -> Position:
        while True:
            with self._database.reading() as session:
                rows = rows_after(session, position, limit=CHUNK)
            position = follow(position, rows)
            if len(rows) < CHUNK:
                return position

    def _consistent(self, session: Session, ring: Keyring) -> tuple[StoredCheckpoint | None, LedgerHead]:
        """The newest checkpoint and the head, once every checkpoint known is the beginning of that head's ledger."""
        # The head last: others append and sign meanwhile, and a checkpoint must not seem to be ahead of it.
        newest, remembered = newest_checkpoint(session), recall(self.memory)
        head = session.execute(
            select(LedgerHead).where(LedgerHead.id == 1).execution_options(populate_existing=True)
        ).scalar_one()
        if newest is not None:
            signed = _opened(newest.note, ring)
            if (newest.size, newest.root) != (signed.size, signed.root):
                msg = f"The columns beside the checkpoint of {newest.size} entries say something else than its text."
                raise LedgerDamaged(msg)
            _refuse_inconsistent(session, signed, head)
        if remembered is not None and (newest is None or remembered != newest.note):
            _refuse_inconsistent(session, _opened(remembered, ring), head)
        return newest, head


def newest_checkpoint(session: Session) -> StoredCheckpoint | None:
    """The largest one signed."""
    query = select(StoredCheckpoint).order_by(StoredCheckpoint.size.desc()).limit(1)
    return session.execute(query).scalar_one_or_none()


def _size(session: Session) -> int:
    return session.execute(select(LedgerHead.tree_size).where(LedgerHead.id == 1)).scalar_one()


def _refuse_inconsistent(session: Session, signed: Checkpoint, head: LedgerHead) -> None:
    if signed.size > head.tree_size:
        msg = (
            f"The ledger has {head.tree_size} entries, but a checkpoint of {signed.size} was signed: its end was cut "
            "off, or an older database was restored."
        )
        raise LedgerDamaged(msg)
    proof = consistency_proof(session, signed.size, head.tree_size)
    if proof.old_root != signed.root:
        msg = f"The ledger's first {signed.size} entries are not those that were signed."
        raise LedgerDamaged(msg)
    if proof.new_root != root_of([bytes.fromhex(node) for node in head.frontier]):
        msg = f"The head of {head.tree_size} entries is not the one that the stored hashes make."
        raise LedgerDamaged(msg)


def _opened(note: str, ring: Keyring) -> Checkpoint:
    try:
        return open_checkpoint(note, ring.publics("checkpoint")).checkpoint
    except BadNote as error:
        msg = f"A stored checkpoint does not hold: {error}"
        raise LedgerDamaged(msg) from error


def _sign(session: Session, ring: Keyring, position: Position) -> StoredCheckpoint:
    signers = ring.signers("checkpoint", datetime.now(UTC))
    text = Checkpoint(ring.origin, position.size, position.root).text
    note = str(sign(text, signers))
    stored = StoredCheckpoint(size=position.size, root=position.root, note=note, signed_at=database_now(session))
    session.add(stored)
    session.flush()
    return stored
