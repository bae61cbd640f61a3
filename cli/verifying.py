"""`expunge verify`: check an exported ledger on any machine, without the service and its database."""

import json
import sys
from pathlib import Path

from cli.failures import Failure
from core.ledger.export import FORMAT, Finding, check_export

UNREADABLE = 2


def check_file(path: Path) -> list[Finding]:
    """What an export says of itself, sentence by sentence.

    Args:
        path: a file as `GET /audit/export` sends it; `-` is standard input.

    Raises:
        Failure: it cannot be read, or is something else.
    """
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        msg = f"Expected a file to read, got {path}: {error.strerror}."
        raise Failure(msg, exit_code=UNREADABLE) from error
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        msg = f"Expected JSON in {path}, got something else; export the ledger with GET /audit/export."
        raise Failure(msg, exit_code=UNREADABLE) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        msg = f"Expected an export of format {FORMAT} in {path}, got another document."
        raise Failure(msg, exit_code=UNREADABLE)
    return check_export(document)


def holds(findings: list[Finding]) -> bool:
    """Whether the export is as it was written."""
    return all(finding.holds for finding in findings)
