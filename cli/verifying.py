"""`expunge verify`: check evidence on any machine, without the service and its database."""

from collections.abc import Sequence
from pathlib import Path

from cli.failures import Failure
from core.evidence.command import UNDECIDED, Unreadable, examine
from core.ledger.export import Finding
from core.signing.notes import BadNote, PublicKey


def check_file(
    path: Path,
    *,
    keys: Sequence[str] = (),
    checkpoints: Sequence[Path] = (),
    request: str | None = None,
    weights: Path | None = None,
) -> list[Finding]:
    """What a piece of evidence proves, sentence by sentence; see `core.evidence.command.examine`.

    Raises:
        Failure: something cannot be read, or is something else.
    """
    try:
        return examine(
            str(path),
            keys=keys,
            checkpoints=[str(one) for one in checkpoints],
            request=request,
            weights=str(weights) if weights is not None else None,
        )
    except Unreadable as error:
        raise Failure(str(error), exit_code=UNDECIDED) from error


def check_database(
    data_dir: Path | None, *, keys: Sequence[str] = (), checkpoints: Sequence[Path] = ()
) -> list[Finding]:
    """Whether every entry in the service's database is what it was: read, chained, and held against every checkpoint.

    Args:
        data_dir: the service's folder, if not the one in the settings.
        keys: pinned public keys; default: those of the key file of this machine, if there is one.
        checkpoints: files with signed checkpoints kept from earlier; the one beside the key file is taken too.

    Raises:
        Failure: something cannot be read.
    """
    from cli.configuration import chosen_settings
    from core.db.session import Database
    from core.ledger.rechecking import check_stored
    from core.ledger.remembering import recall
    from core.ledger.sealing import Sealer
    from core.signing.keyring import KeyFile

    settings = chosen_settings(data_dir)
    try:
        pinned = [PublicKey.parse(key) for key in keys]
        kept = [one.read_text(encoding="utf-8", errors="replace") for one in checkpoints]
    except (BadNote, OSError) as error:
        raise Failure(str(error), exit_code=UNDECIDED) from error
    database, file = Database(settings.database_url, pooled=False), KeyFile(settings.signing_keys_file)
    remembered = recall(Sealer(database, file, interval=settings.checkpoint_interval).memory)
    ring = file.current()
    if not pinned and ring is not None:
        pinned = list(ring.publics("checkpoint"))
    try:
        return check_stored(database, pinned, kept=kept + ([remembered] if remembered else []))
    finally:
        database.dispose()


def holds(findings: list[Finding]) -> bool:
    """Whether the evidence is as it was written."""
    return all(finding.holds for finding in findings)
