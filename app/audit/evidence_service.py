"""Everything that proves a request, put into one zip file; `core.evidence.bundle` is its reader.

The same state of request and ledger gives the same bytes. A bundle holds no weights and no images, so it is small
whatever the model; it is made in memory.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version as installed
from typing import Any
from uuid import UUID

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.checkpoints_service import note_of
from app.audit.service import entries_of
from app.dependencies import Caller
from app.errors import MalformedParameter
from app.reports.kinds import Kind
from app.reports.rendering import render_report
from app.resources import Resources
from core.evidence import layout
from core.evidence.archive import pack
from core.evidence.script import verifier_script
from core.ledger.checkpoints import KEY_ADDED
from core.ledger.entries import canonical
from core.ledger.nodes import consistency_proof, inclusion_proof
from core.ledger.sealing import NoCheckpoint
from core.ledger.tables import LedgerEntry, StoredCheckpoint
from core.requests.repository import find_request
from core.requests.tables import Submission, UnlearnRequest
from core.signing.dsse import envelope
from core.signing.keyring import Keyring
from models_store.attesting import NotAttested, attested
from models_store.tables import ModelVersion

REPORTS = (Kind.HTML, Kind.JSON, Kind.CSV)
"""PDF shows the same page as HTML, takes a process to make, and is at `/unlearn/{id}/report.pdf`."""
TOLD_APART = ("verdict", "environment")
"""Members of a result that have a file of their own."""

README = """Evidence of request {request}
{line}

Check it without the service that made it, with nothing but Python 3.11:

    python -I verify_evidence.py {request}.zip --key 'THE KEY YOU PINNED'

Take verify_evidence.py from the source of the product, or from where else you trust it. The copy in here is what the
service had on that day; whoever could forge the bundle could forge that copy, so do not trust it from here. The same
goes for keys: pin one over a channel of its own (the operator prints it with `expunge keys list`), and never out of a
bundle.

index.dsse.json    every other file and its digest, signed
request.json       the request as it was sent; receipt.json is the signed receipt for it
ledger/            the entries about the request and about keys, their proofs, the signed checkpoint they lead to
manifest.json      digests of the weights before and after, of the data, of the verdict
verdict.json       each test with its interval; policy.json has the margins, results.json every measure
environment.json   what it was computed with
attestations/      signed statements about the new version; model.sig is for the public model_signing tool
report/            the report for people
"""


@dataclass(frozen=True)
class _Gathered:
    """What the database says of the request at one moment."""

    entries: list[LedgerEntry]
    keys: list[LedgerEntry]
    files: dict[str, bytes]

    @property
    def numbers(self) -> list[int]:
        """Numbers of all entries, growing."""
        return sorted({entry.seq for entry in (*self.entries, *self.keys)})


def make_bundle(held: Resources, who: Caller, request_id: UUID, since: int | None) -> bytes:
    """The evidence bundle of one of the caller's requests. Attestations that were not signed yet are signed first.

    Args:
        held: the application's resources.
        who: the caller.
        request_id: the request.
        since: size of a checkpoint that the caller keeps; the bundle shows that the ledger grew from it.

    Raises:
        UnknownRequest: the tenant has none with this id.
        NoCheckpoint: no key signs.
        MalformedParameter: the ledger never was larger than `since`.
    """
    ring = held.keys.current()
    if ring is None or not ring.signers("statement"):
        msg = "Expected signing keys, without which there is no evidence; the operator makes them: `expunge keys init`."
        raise NoCheckpoint(msg)
    attestations = _attestations(held, ring, who, request_id)
    gathered, signed = _signed(held, who, request_id)
    with held.database.reading() as session:
        files = gathered.files | attestations | _ledger_files(session, gathered, signed, since)
    files[layout.VERIFIER] = verifier_script().encode()
    title = "=" * (20 + len(str(request_id)))
    files[layout.README] = README.format(request=request_id, line=title).encode()
    index = {
        "format": layout.BUNDLE_FORMAT,
        "origin": ring.origin,
        "request": str(request_id),
        "state": _state_of(gathered.entries),
        "entries": [entry.seq for entry in gathered.entries],
        "keys": [entry.seq for entry in gathered.keys],
        "files": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    made = envelope(layout.INDEX_TYPE, canonical(index), ring.signers("statement"))
    return pack(files | {layout.INDEX: rfc8785.dumps(made)})


def _attestations(held: Resources, ring: Keyring, who: Caller, request_id: UUID) -> dict[str, bytes]:
    with held.database.reading() as session:
        version_id = find_request(session, who.tenant, request_id).new_version_id
    if version_id is None:
        return {}
    try:
        found = attested(held.database, ring, version_id)
    except NotAttested:  # a ring of before there were keys for models: the bundle says that nothing is attested
        return {}
    return {layout.attestation_file(one.kind): one.content for one in found}


def _signed(held: Resources, who: Caller, request_id: UUID) -> tuple[_Gathered, StoredCheckpoint]:
    """What there is, and a checkpoint that covers all of it."""
    newest = -1
    while True:
        # Signed first, because the report shows the newest checkpoint.
        signed = held.sealer.current(covering=newest)
        with held.database.reading() as session:
            gathered = _gather(session, who, request_id)
        newest = gathered.numbers[-1]
        if newest < signed.size:
            return gathered, signed


def _gather(session: Session, who: Caller, request_id: UUID) -> _Gathered:
    request = find_request(session, who.tenant, request_id)
    keys = select(LedgerEntry).where(LedgerEntry.type == KEY_ADDED).order_by(LedgerEntry.seq)
    # As of the ledger's newest entry: nothing has happened since, and the same state gives the same report.
    as_of = session.execute(select(LedgerEntry.at).order_by(LedgerEntry.seq.desc()).limit(1)).scalar_one()
    files = {f"report/report.{kind}": render_report(session, request, kind, as_of=as_of) for kind in REPORTS}
    files |= _submission(session, request_id) | _documents(session, request)
    entries = entries_of(session, request_id, who.tenant)
    return _Gathered(entries, list(session.execute(keys).scalars()), files)


def _submission(session: Session, request_id: UUID) -> dict[str, bytes]:
    kept = session.get(Submission, request_id)
    if kept is None:
        return {}
    return {layout.SUBMITTED: kept.body} | ({layout.RECEIPT: kept.receipt} if kept.receipt is not None else {})


def _documents(session: Session, request: UnlearnRequest) -> dict[str, bytes]:
    """Manifest, verdict, policy, measures and environment, as far as there are any, in canonical bytes."""
    result: dict[str, Any] = request.job.result or {}
    version = session.get(ModelVersion, request.new_version_id) if request.new_version_id is not None else None
    verdict = version.verdict if version is not None else result.get("verdict")
    found: dict[str, Any] = {
        layout.MANIFEST: version.manifest if version is not None else None,
        layout.VERDICT: verdict,
        layout.POLICY: verdict["policy"] if verdict else None,
        layout.RESULTS_FILE: {name: value for name, value in result.items() if name not in TOLD_APART} or None,
        layout.ENVIRONMENT: {
            "environment": result.get("environment", {}),
            "versions": {"expunge": installed("expunge"), "bundle": layout.BUNDLE_FORMAT},
        },
    }
    return {name: rfc8785.dumps(value) for name, value in found.items() if value is not None}


def _ledger_files(
    session: Session, gathered: _Gathered, signed: StoredCheckpoint, since: int | None
) -> dict[str, bytes]:
    if since is not None and since > signed.size:
        msg = f"Expected the size of a checkpoint of this ledger, at most {signed.size}, got {since}."
        raise MalformedParameter(msg, "since")
    proofs = {number: inclusion_proof(session, number, signed.size) for number in gathered.numbers}
    shown = {str(number): [one.hex() for one in proof.hashes] for number, proof in proofs.items()}
    files = {layout.entry_file(one.seq): one.leaf for one in (*gathered.entries, *gathered.keys)}
    files[layout.CHECKPOINT_FILE] = note_of(session, signed.size).encode()
    files[layout.PROOFS_FILE] = canonical({"size": signed.size, "root": signed.root.hex(), "proofs": shown})
    return files | _growth(session, since if since is not None else _before(session, gathered), signed.size)


def _before(session: Session, gathered: _Gathered) -> int:
    """Size of the newest checkpoint that was signed before the request was accepted; 0 if there is none."""
    query = select(StoredCheckpoint.size).where(StoredCheckpoint.size <= gathered.entries[0].seq)
    return session.execute(query.order_by(StoredCheckpoint.size.desc()).limit(1)).scalar_one_or_none() or 0


def _growth(session: Session, old: int, new: int) -> dict[str, bytes]:
    if old == 0:
        return {}
    proof = consistency_proof(session, old, new)
    shown = {
        "old": old,
        "new": new,
        "hashes": [one.hex() for one in proof.hashes],
        "old_root": proof.old_root.hex(),
        "new_root": proof.new_root.hex(),
    }
    files = {layout.GROWTH_FILE: canonical(shown)}
    if session.get(StoredCheckpoint, old) is not None:
        files[layout.EARLIER_FILE] = note_of(session, old).encode()
    return files


def _state_of(entries: list[LedgerEntry]) -> str:
    """Where the entries lead to; the row may have moved on since they were read."""
    leaves = [json.loads(entry.leaf) for entry in entries]
    return str([leaf["to"] for leaf in leaves if "to" in leaf][-1])
