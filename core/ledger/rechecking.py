"""Reading old entries again: those behind the newest checkpoint, which nobody reads before the next is signed.

A proof rests on the hashes stored beside the entries, so an old entry whose bytes were changed and whose hashes were
left alone goes unnoticed until it is read. Two readers go through the whole ledger, entry by entry:

* `Rechecker` in every API process, some entries per tick, round after round. A round ends at the checkpoint that was
  the newest when it began, so it ends however fast the ledger grows: after size / entries ticks at the latest every
  entry has been read. It starts anywhere, so that processes that live shorter than a round read all of it too.
* `check_stored` for the operator, all at once, against every checkpoint in the database.
"""

import logging
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.clock import database_now, to_rfc3339
from core.db.session import Database
from core.errors import where_it_broke
from core.ledger.checkpoints import KEY_ADDED, keys_announced, open_checkpoint, open_earlier
from core.ledger.export import Finding
from core.ledger.following import Position, follow, position_at, refuse_other_head, rows_after
from core.ledger.nodes import LedgerDamaged, frontier_at
from core.ledger.sealing import newest_checkpoint
from core.ledger.tables import LedgerEntry, LedgerHead, StoredCheckpoint
from core.ledger.tree import root_of
from core.signing.notes import BadNote, PublicKey

CHUNK = 2000

_log = logging.getLogger("expunge.ledger")


@dataclass(frozen=True)
class Recheck:
    """What the rounds have found so far, in a sentence."""

    holds: bool
    sentence: str


@dataclass(frozen=True)
class _Goal:
    """Where a round ends, and what the entries must add up to there."""

    size: int
    root: bytes


class Rechecker:
    """Reads old entries of one database again, round after round; one thread steps, any may ask.

    Args:
        database: where the ledger is.
        entries: how many are read per step; 0: none.
        interval: between two steps of `run`.
    """

    def __init__(self, database: Database, *, entries: int, interval: timedelta) -> None:
        self._database = database
        self._entries = entries
        self._interval = interval
        self._position: Position | None = None
        self._goal: _Goal | None = None
        self._ended_at: datetime | None = None
        self._problem: str | None = None

    def examine(self) -> Recheck:
        """Whether what was read so far is as it was; asks nobody."""
        if self._problem is not None:
            return Recheck(holds=False, sentence=self._problem)
        if not self._entries:
            return Recheck(holds=True, sentence="Old entries are not read again: EXPUNGE_RECHECKED_ENTRIES is 0.")
        ended = f"a round ended at {to_rfc3339(self._ended_at)}" if self._ended_at else "the first round is under way"
        return Recheck(holds=True, sentence=f"Old entries are read again and again and are as they were; {ended}.")

    def step(self) -> None:
        """Read the next entries.

        Raises:
            LedgerDamaged: one is not what it was. The next step begins there again, so that it is red until it holds.
        """
        try:
            self._step()
        except LedgerDamaged as error:
            self._problem = str(error)
            raise
        self._problem = None

    def run(self, stop: threading.Event) -> None:
        """Step at every interval until `stop` is set; what goes wrong is logged and tried again."""
        while self._entries and not stop.wait(self._interval.total_seconds()):
            try:
                self.step()
            except SQLAlchemyError as error:
                _log.warning("old entries not read, database unavailable: %s", type(error).__name__)
            except LedgerDamaged as error:
                _log.error("old entries: %s", error)
            except Exception as error:  # noqa: BLE001 without this thread nothing old would be read any more
                _log.error("reading old entries broke: %s", where_it_broke(error))

    def _step(self) -> None:
        with self._database.reading() as session:
            if self._goal is None:
                self._goal = _goal(session)
            goal = self._goal
            if self._position is None:
                # A first round covers the end only; the following ones begin at the beginning.
                self._position = position_at(session, secrets.randbelow(goal.size) if goal.size else 0)
            position = self._position
            rows = rows_after(session, position, limit=min(self._entries, goal.size - position.size))
            now = database_now(session)
        if not rows and position.size < goal.size:
            msg = f"Entry {position.size} is missing, and all that follow it."
            raise LedgerDamaged(msg)
        position = follow(position, rows)
        if position.size == goal.size:
            if position.root != goal.root:
                # Links and stored hashes agree, so all of it was rewritten: the next look starts from the beginning.
                self._position = Position()
                msg = f"The first {goal.size} entries are not those that were signed."
                raise LedgerDamaged(msg)
            self._ended_at, self._goal, position = now, None, Position()
        self._position = position


def check_stored(
    database: Database, keys: Sequence[PublicKey], *, kept: Sequence[str] = (), chunk: int = CHUNK
) -> list[Finding]:
    """Read the whole stored ledger and hold it against every checkpoint; memory stays flat.

    Args:
        database: where the ledger is.
        keys: public keys that checkpoints may be signed by; with none, signatures are not checked and that is said.
        kept: checkpoints kept elsewhere.
        chunk: entries read at a time.

    Returns:
        Findings in reading order; the ledger holds if all of them do. Never raises on a damaged ledger.
    """
    with database.reading() as session:
        stored = {row.size: row for row in session.execute(select(StoredCheckpoint)).scalars()}
        head = session.execute(select(LedgerHead).where(LedgerHead.id == 1)).scalar_one()
        announcing = select(LedgerEntry.seq, LedgerEntry.leaf).where(LedgerEntry.type == KEY_ADDED)
        added = {row.seq: row.leaf for row in session.execute(announcing)}
        session.expunge_all()
    goals, findings = _goals(stored, keys, kept, added)
    try:
        met = _follow_all(database, head, goals, chunk)
    except LedgerDamaged as error:
        return [*findings, Finding(holds=False, sentence=str(error))]
    whole = f"All {head.tree_size} entries are chained without gap, beside the right hashes, and add up to the head"
    return [*findings, Finding(holds=True, sentence=f"{whole} and to {met} checkpoints.")]


def _follow_all(database: Database, head: LedgerHead, goals: dict[int, set[bytes]], chunk: int) -> int:
    """Follow every entry up to the head; how many roots were met.

    Raises:
        LedgerDamaged: an entry, the head or a checkpoint says something else.
    """
    position, met = Position(), 0
    while position.size < head.tree_size:
        with database.reading() as session:
            rows = rows_after(session, position, limit=min(chunk, head.tree_size - position.size))
        if not rows:
            break
        for row in rows:
            position = follow(position, [row])
            if goals.get(position.size, {position.root}) != {position.root}:
                msg = f"The first {position.size} entries are not those of the checkpoint of that size."
                raise LedgerDamaged(msg)
            met += position.size in goals
    refuse_other_head(position, head)
    most = max(goals, default=0)
    if most > head.tree_size:
        msg = f"{most - head.tree_size} entries are missing at the end: a checkpoint of {most} was signed."
        raise LedgerDamaged(msg)
    return met


def _goals(
    stored: dict[int, StoredCheckpoint], keys: Sequence[PublicKey], kept: Sequence[str], added: dict[int, bytes]
) -> tuple[dict[int, set[bytes]], list[Finding]]:
    """The roots that must be met, by size, and what is wrong with the checkpoints themselves.

    Args:
        stored: those of the database.
        keys: pinned keys.
        kept: checkpoints kept elsewhere.
        added: the entries that announce keys, by number. They are read with all others before anything holds.
    """
    goals: dict[int, set[bytes]] = {size: {row.root} for size, row in stored.items() if size}
    if not keys:
        sentence = "Not checked: signatures of checkpoints, because no key was given and none is on this machine."
        return goals, [Finding(holds=True, sentence=sentence)]
    signed, refused = [], dict[str, str]()
    for note in [*(row.note for row in stored.values()), *kept]:
        try:
            signed.append(open_checkpoint(note, keys).checkpoint)
        except BadNote as error:
            refused[note] = str(error)
    below = max((one.size for one in signed), default=0)
    announced = keys_announced(leaf for number, leaf in added.items() if number < below)
    faults: dict[str, Finding] = {}
    for note, told in refused.items():
        earlier = open_earlier(note, below, announced)
        if earlier is not None:
            signed.append(earlier.checkpoint)
        else:
            faults[told] = Finding(holds=False, sentence=f"A checkpoint does not hold: {told}")
    for one in signed:
        if one.size:
            goals.setdefault(one.size, set()).add(one.root)
    return goals, list(faults.values())


def _goal(session: Session) -> _Goal:
    newest = newest_checkpoint(session)
    if newest is not None:
        return _Goal(newest.size, newest.root)
    size = session.execute(select(LedgerHead.tree_size).where(LedgerHead.id == 1)).scalar_one()
    return _Goal(size, root_of(frontier_at(session, size)))
