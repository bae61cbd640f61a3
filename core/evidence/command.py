"""The check as people run it: `expunge verify`, and `verify_evidence.py` for those who have nothing but Python."""

import argparse
import re
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from core.evidence.archive import MAX_BYTES, ZIP_MARK
from core.evidence.trust import Trust
from core.ledger.export import Finding
from core.ledger.verifying import NoEvidence, check
from core.signing.notes import BadNote, PublicKey

HOLDS, FAILS, UNDECIDED = 0, 1, 2
"""Exit codes: everything holds; something does not; it cannot be read, or what was asked cannot be answered."""
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEFT_OPEN = ("Not checked", "Cannot be known", "Cannot be decided")
CHUNK = 1 << 20


class Unreadable(Exception):
    """What was given cannot be read as what it should be; the text is the sentence for the person who gave it."""


def examine(
    path: str,
    *,
    keys: Sequence[str] = (),
    checkpoints: Sequence[str] = (),
    request: str | None = None,
    weights: str | None = None,
) -> list[Finding]:
    """What a piece of evidence proves, sentence by sentence.

    Args:
        path: a bundle, an export, a checkpoint, a proof or a receipt; `-` is standard input.
        keys: pinned public keys, as `name+id+key`.
        checkpoints: files with signed checkpoints kept from earlier.
        request: the id that a bundle must be about; or the file with the body that a receipt is for.
        weights: the file that should be the published version.

    Raises:
        Unreadable: something cannot be read, or is something else.
    """
    try:
        pinned = [PublicKey.parse(key) for key in keys]
    except BadNote as error:
        raise Unreadable(str(error)) from error
    is_id = request is not None and UUID_TEXT.fullmatch(request.lower()) is not None
    trust = Trust(
        keys=pinned,
        checkpoints=[_read(one).decode(errors="replace") for one in checkpoints],
        request=_read(request) if request is not None and not is_id else None,
        request_id=request.lower() if request is not None and is_id else None,
        weights_sha256=_digest(weights) if weights is not None else None,
    )
    content = _read(path)
    try:
        return check(content, trust)
    except NoEvidence as error:
        msg = f"Expected evidence to check in {path}: {error}"
        raise Unreadable(msg) from error


def exit_code(findings: Sequence[Finding]) -> int:
    """What the process ends with."""
    if not all(finding.holds for finding in findings):
        return FAILS
    return HOLDS if all(finding.decided for finding in findings) else UNDECIDED


def tell(findings: Sequence[Finding]) -> str:
    """The findings as people read them: what holds, what does not, what is left open, and the result in a sentence."""
    wrong = [one.sentence for one in findings if not one.holds]
    left_open = [one.sentence for one in findings if one.holds and one.sentence.startswith(LEFT_OPEN)]
    right = [one.sentence for one in findings if one.holds and not one.sentence.startswith(LEFT_OPEN)]
    parts = {"What holds:": right, "What does not hold:": wrong, "What is left open:": left_open}
    lines = [line for heading, told in parts.items() if told for line in (heading, *(f"  {one}" for one in told), "")]
    results = {
        HOLDS: "It holds, as far as it was checked.",
        FAILS: "IT DOES NOT HOLD.",
        UNDECIDED: "What was asked cannot be decided with this.",
    }
    return "\n".join([*lines, results[exit_code(findings)]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a file with nothing but Python's standard library; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="verify_evidence.py",
        description="Check evidence of a class deletion offline: a bundle (zip), a ledger export, a signed checkpoint, "
        "a proof or a receipt.",
        epilog="Exit code 0: it holds. 1: it does not, and the sentences say what. 2: it cannot be read, or what was "
        "asked cannot be answered. Take this program from where you trust it, never out of a bundle.",
    )
    parser.add_argument("file", help="what to check; - reads standard input")
    parser.add_argument(
        "--key", action="append", default=[], help="a public key you pinned, as name+id+key; may repeat"
    )
    parser.add_argument("--checkpoint", action="append", default=[], help="a signed checkpoint kept from earlier")
    parser.add_argument("--request", help="the id a bundle must be about; or a file with the request as it was sent")
    parser.add_argument("--weights", help="a file that should be the published weights")
    given = parser.parse_args(arguments)
    try:
        findings = examine(
            given.file, keys=given.key, checkpoints=given.checkpoint, request=given.request, weights=given.weights
        )
    except Unreadable as error:
        sys.stderr.write(f"{error}\n")
        return UNDECIDED
    except Exception as error:  # noqa: BLE001 the edge: whatever it is, evidence that breaks its check does not hold
        sys.stderr.write(f"The check broke ({type(error).__name__}), so the evidence counts as not holding.\n")
        return FAILS
    sys.stdout.buffer.write(f"{tell(findings)}\n".encode())
    return exit_code(findings)


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return _limited(sys.stdin.buffer)
        with Path(path).open("rb") as file:
            return _limited(file)
    except OSError as error:
        msg = f"Expected a file to read, got {path}: {error.strerror}."
        raise Unreadable(msg) from error


def _limited(file: BinaryIO) -> bytes:
    """The content; of a zip file no more than a bundle may have and one byte, which is then refused as too large."""
    start = file.read(len(ZIP_MARK))
    return start + file.read(MAX_BYTES if start == ZIP_MARK else -1)


def _digest(path: str) -> str:
    digest = sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        msg = f"Expected weights to read, got {path}: {error.strerror}."
        raise Unreadable(msg) from error
    return digest.hexdigest()
