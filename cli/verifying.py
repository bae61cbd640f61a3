"""`expunge verify`: check evidence on any machine, without the service and its database."""

import sys
from collections.abc import Sequence
from pathlib import Path

from cli.failures import Failure
from core.ledger.export import Finding
from core.ledger.verifying import NoEvidence, Trust, check
from core.signing.notes import BadNote, PublicKey

UNREADABLE = 2


def check_file(
    path: Path, *, keys: Sequence[str] = (), checkpoints: Sequence[Path] = (), request: Path | None = None
) -> list[Finding]:
    """What a piece of evidence proves, sentence by sentence.

    Args:
        path: an export, a checkpoint, a proof or a receipt; `-` is standard input.
        keys: pinned public keys, as `name+id+key`.
        checkpoints: files with signed checkpoints kept from earlier.
        request: the body that a receipt is for.

    Raises:
        Failure: something cannot be read, or is something else.
    """
    try:
        pinned = [PublicKey.parse(key) for key in keys]
    except BadNote as error:
        raise Failure(str(error), exit_code=UNREADABLE) from error
    trust = Trust(
        keys=pinned,
        checkpoints=[_read(one).decode(errors="replace") for one in checkpoints],
        request=_read(request) if request is not None else None,
    )
    try:
        return check(_read(path), trust)
    except NoEvidence as error:
        msg = f"Expected evidence to check in {path}: {error}"
        raise Failure(msg, exit_code=UNREADABLE) from error


def holds(findings: list[Finding]) -> bool:
    """Whether the evidence is as it was written."""
    return all(finding.holds for finding in findings)


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        msg = f"Expected a file to read, got {path}: {error.strerror}."
        raise Failure(msg, exit_code=UNREADABLE) from error
