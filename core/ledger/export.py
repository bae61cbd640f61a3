"""The ledger as a file, and its check without a database.

An export is JSON: `{"format": "expunge-ledger/1", "tree_size": n, "root": hex, "entries": [{"leaf": base64}]}`.
It holds every entry from the first on and is checked leaf by leaf, link by link, up to the root. Where checkpoints are
signed it has one more member, `checkpoint`: the newest one, as text.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.evidence.canonical import canonical_bytes
from core.ledger.checkpoints import Checkpoint
from core.ledger.entries import NO_PREVIOUS
from core.ledger.tree import append_to_frontier, leaf_hash, root_of

FORMAT = "expunge-ledger/1"
MEMBERS = frozenset({"format", "tree_size", "root", "entries", "checkpoint"})
"""Of an export. Another one is refused: a checkpoint under a misspelled name would be one that nobody checks."""


@dataclass(frozen=True)
class Finding:
    """One sentence of a check's result."""

    holds: bool
    sentence: str
    decided: bool = True
    """False where something was asked that the evidence at hand cannot answer."""


def right(sentence: str) -> Finding:
    """Something that holds, or that was left open and is said to be."""
    return Finding(holds=True, sentence=sentence)


def wrong(sentence: str) -> Finding:
    """Something that does not hold."""
    return Finding(holds=False, sentence=sentence)


def undecided(sentence: str) -> Finding:
    """Something that was asked and cannot be answered with what is at hand."""
    return Finding(holds=True, sentence=sentence, decided=False)


def export_document(leaves: Iterable[bytes], *, tree_size: int, root: bytes) -> dict[str, Any]:
    """The export of the whole ledger as a JSON value."""
    return {
        "format": FORMAT,
        "tree_size": tree_size,
        "root": root.hex(),
        "entries": [{"leaf": base64.b64encode(leaf).decode()} for leaf in leaves],
    }


def check_export(document: object, checkpoints: Sequence[Checkpoint] = ()) -> list[Finding]:
    """Check an export: every leaf canonical, numbered without gap, chained to its predecessor, adding up to the root.

    Args:
        document: the export as parsed.
        checkpoints: what was signed of this ledger, signatures checked by the caller; each must be its beginning.

    Returns:
        Findings in reading order; the export holds if all of them do. Never raises on bad content.
    """
    try:
        leaves, tree_size, root = _parse(document)
    except (ValueError, KeyError, TypeError) as error:
        return [Finding(holds=False, sentence=f"This is not a ledger export: {error}")]
    problems = list(_check_chain(leaves))
    if len(leaves) != tree_size:
        problems.append(f"The export names {tree_size} entries but holds {len(leaves)}.")
    roots = _roots(leaves, {one.size for one in checkpoints})
    computed = roots[len(leaves)].hex()
    if computed != root:
        problems.append(f"The entries add up to root {computed}, the export names {root}.")
    findings = [Finding(holds=False, sentence=problem) for problem in problems]
    if not findings:
        sentence = f"All {tree_size} entries are chained without gap and add up to root {root}."
        findings.append(Finding(holds=True, sentence=sentence))
    return findings + [_against(one, roots, len(leaves)) for one in checkpoints]


def leaves_of(document: object, limit: int) -> list[bytes]:
    """The first leaves of an export; none of one that cannot be read."""
    try:
        return _parse(document)[0][:limit]
    except (ValueError, KeyError, TypeError):
        return []


def _roots(leaves: Sequence[bytes], sizes: set[int]) -> dict[int, bytes]:
    """The roots at these sizes, as far as the leaves reach, and at the end."""
    frontier: list[bytes] = []
    roots = {0: root_of(frontier)}
    for size, leaf in enumerate(leaves):
        frontier = append_to_frontier(frontier, size, leaf_hash(leaf))
        if size + 1 in sizes or size + 1 == len(leaves):
            roots[size + 1] = root_of(frontier)
    return roots


def _against(signed: Checkpoint, roots: dict[int, bytes], num_leaves: int) -> Finding:
    what = f"the checkpoint of {signed.size} entries of {signed.origin}"
    if signed.size > num_leaves:
        missing = signed.size - num_leaves
        return Finding(holds=False, sentence=f"{missing} entries are missing at the end: {what} was signed.")
    if roots[signed.size] != signed.root:
        return Finding(holds=False, sentence=f"The first {signed.size} entries are not those of {what}.")
    return Finding(holds=True, sentence=f"The first {signed.size} entries are those of {what}.")


def _parse(document: object) -> tuple[list[bytes], int, str]:
    if not isinstance(document, dict):
        msg = f"expected a JSON object, got {type(document).__name__}."
        raise TypeError(msg)
    if document.get("format") != FORMAT:
        msg = f"expected format {FORMAT!r}, got {document.get('format')!r}."
        raise ValueError(msg)
    unknown = sorted({*document} - MEMBERS)
    if unknown:
        msg = f"expected the members {', '.join(sorted(MEMBERS))}, got also {', '.join(map(repr, unknown))}."
        raise ValueError(msg)
    try:
        leaves = [_bytes(entry["leaf"]) for entry in document["entries"]]
    except (binascii.Error, TypeError) as error:
        msg = f"an entry is not base64 ({error})."
        raise ValueError(msg) from error
    size, root = document["tree_size"], document["root"]
    if not isinstance(size, int) or not isinstance(root, str):
        msg = "tree_size must be an integer and root a hex string."
        raise TypeError(msg)
    return leaves, size, root


def _bytes(text: str) -> bytes:
    """Decode a leaf that is spelled in the one way of base64 that encoding gives."""
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        msg = "an entry is spelled in another base64 than it was written in."
        raise ValueError(msg)
    return decoded


def _check_chain(leaves: list[bytes]) -> Iterator[str]:
    previous = NO_PREVIOUS
    for position, leaf in enumerate(leaves):
        problem = leaf_problem(leaf, position, previous)
        if problem is not None:
            yield f"Entry {position}: {problem}"
        previous = leaf_hash(leaf)


def leaf_problem(leaf: bytes, position: int, previous: bytes) -> str | None:
    """What is wrong with a leaf at a position and after the leaf with that hash; None if nothing is."""
    try:
        fields = json.loads(leaf)
        is_canonical = canonical_bytes(fields) == leaf
    except (ValueError, RecursionError):
        return "its bytes are not canonical JSON (RFC 8785)."
    if not isinstance(fields, dict) or not is_canonical:
        return "its bytes are not canonical JSON (RFC 8785)."
    if fields.get("seq") != position:
        return f"expected number {position}, it says {fields.get('seq')!r}; an entry was removed, added or moved."
    if fields.get("prev") != previous.hex():
        return "it does not follow the entry before it; one of the two was changed."
    return None
