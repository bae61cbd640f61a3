"""PDF from the same page that a browser shows, made by a fresh process (see docs/adr/0011)."""

import os
import subprocess
import sys
import threading

from core.errors import Busy, ServiceError

COMMAND = (sys.executable, "-P", "-m", "app.reports.typesetter")
SECONDS = 120.0
AT_ONCE = 2
"""Processes at a time: each may take a core and, for the longest reports, some hundred megabytes."""
_room = threading.BoundedSemaphore(AT_ONCE)


class NoPdf(ServiceError):
    """The page could not be typeset."""

    slug = "pdf-not-made"
    title = "The PDF could not be made"


class TooManyPdfs(Busy):
    """All places are taken."""


def to_pdf(html: str) -> bytes:
    """The page as PDF; the style sheet's print rules apply.

    Raises:
        TooManyPdfs: others are being made, and none of them ended in time.
        NoPdf: the typesetter failed or hit its limits.
    """
    if not _room.acquire(timeout=SECONDS / 4):
        msg = f"Expected room for one more PDF, but {AT_ONCE} are being made. Try again, or take HTML, CSV or JSON."
        raise TooManyPdfs(msg)
    try:
        return _typeset(html.encode())
    finally:
        _room.release()


def _typeset(html: bytes) -> bytes:
    # Nothing of our environment: it holds the database's address, and this process reads what strangers wrote.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(COMMAND, input=html, capture_output=True, env=environment, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode or not done.stdout.startswith(b"%PDF-"):
        msg = "The report could not be set as PDF within the limits of time and memory; take HTML, CSV or JSON instead."
        raise NoPdf(msg)
    return done.stdout
