"""Signing what is attested of a published version, once, and keeping the bytes.

Rules: nothing is signed that the ledger does not say. The entry of the publication must lead to the ledger's head; it
names the digest of the manifest, the manifest that of the weights and of the verdict; and each of them is compared. So
whoever changes a row in the database gets no signature for it. What was signed is written into the ledger by digest, in
the same transaction, and never signed again.

The keys are where the API runs, not where workers run, so that a worker cannot attest its own work.
"""

import json
import re
from dataclasses import dataclass
from hashlib import sha256

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now, to_rfc3339
from core.db.session import Database
from core.errors import NotFound
from core.evidence import statements
from core.evidence.statements import Publication
from core.ledger.entries import Record, append
from core.ledger.nodes import LedgerDamaged, inclusion_proof
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import leaf_hash, root_of
from core.policy.margins import Policy
from core.requests.tables import UnlearnRequest
from core.signing.dsse import envelope
from core.signing.keyring import Keyring
from core.states import JobState
from models_store.manifests import digest
from models_store.tables import Attestation, ModelVersion

ACTOR = "system:attestor"
CLASS_UNLEARNING, TEST_RESULT, SUMMARY, MODEL = "class-unlearning", "test-result", "svr", "model.sig"
STATEMENTS = (CLASS_UNLEARNING, TEST_RESULT, SUMMARY)
"""Kinds that are DSSE envelopes; `model.sig` is a Sigstore bundle."""
KINDS = (*STATEMENTS, MODEL)


class NotAttested(NotFound):
    """Nothing is attested of the version."""

    slug = "not-attested"
    title = "Nothing is attested of this version"


@dataclass(frozen=True)
class Attested:
    """One attestation's bytes."""

    kind: str
    content: bytes
    sha256: str


def artifact_name(version: ModelVersion) -> str:
    """The file name under which a version's weights are downloaded, and by which attestations call them."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", f"{version.model.name}-v{version.number}.safetensors")
    return plain.lstrip(".") or "artifact"


def attested(database: Database, ring: Keyring | None, version_id: int) -> list[Attested]:
    """Everything attested of a version, in the order of `KINDS`; signed now if that was not done yet.

    Its transactions are its own: most callers only read.

    Raises:
        NotAttested: it was uploaded, or there is no key to sign with.
        LedgerDamaged: the database says something else than the ledger; nothing was signed.
    """
    with database.reading() as session:
        if found := _stored(session, version_id):
            return found
    if ring is None or not ring.signers("statement") or not ring.signers("model"):
        msg = "Expected keys for statements and models to sign with; the operator makes them with `expunge keys`."
        raise NotAttested(msg)
    with database.writing() as session:
        # Locked: of two callers at once the later one finds what the earlier one signed.
        version = session.execute(
            select(ModelVersion).where(ModelVersion.id == version_id).with_for_update(of=ModelVersion)
        ).scalar_one()
        return _stored(session, version_id) or _sign(session, ring, version)


def _stored(session: Session, version_id: int) -> list[Attested]:
    rows = session.execute(select(Attestation).where(Attestation.version_id == version_id)).scalars()
    found = {row.kind: Attested(row.kind, row.content, row.sha256) for row in rows}
    return [found[kind] for kind in KINDS if kind in found]


def _sign(session: Session, ring: Keyring, version: ModelVersion) -> list[Attested]:
    publication = _publication(session, ring, version)
    now = database_now(session)
    made = {
        CLASS_UNLEARNING: statements.class_unlearning(publication),
        TEST_RESULT: statements.result_of_tests(publication),
        SUMMARY: statements.summary(publication, at=to_rfc3339(now)),
    }
    signers = ring.signers("statement")
    signed = {kind: envelope(statements.IN_TOTO_TYPE, rfc8785.dumps(made[kind]), signers) for kind in made}
    model = rfc8785.dumps(statements.model_statement(publication.artifact, version.artifact_sha256))
    signed[MODEL] = statements.model_bundle(model, ring.signers("model")[0])
    rows = []
    for kind, content in ((kind, rfc8785.dumps(signed[kind])) for kind in KINDS):
        row = Attestation(version_id=version.id, tenant=version.tenant, actor=ACTOR, kind=kind, content=content)
        row.sha256, row.created_at = sha256(content).hexdigest(), now
        session.add(row)
        rows.append(Attested(kind, content, row.sha256))
    session.flush()
    facts = {"model": version.model.name, "version": version.number, "sha256": {one.kind: one.sha256 for one in rows}}
    record = Record(type="version.attested", tenant=version.tenant, actor=ACTOR, request=version.job_id, data=facts)
    append(session, record)
    return rows


def _publication(session: Session, ring: Keyring, version: ModelVersion) -> Publication:
    """What is known of a version, once all of it was compared with the ledger."""
    if version.job_id is None or version.manifest is None or version.verdict is None or version.parent is None:
        msg = f"Expected a version that a deletion made, got version {version.number}, which was uploaded."
        raise NotAttested(msg)
    request = session.get_one(UnlearnRequest, version.job_id)
    entries = list(
        session.execute(
            select(LedgerEntry).where(LedgerEntry.request_id == version.job_id).order_by(LedgerEntry.seq)
        ).scalars()
    )
    entry = _published_entry(session, entries)
    data = json.loads(entry.leaf)["data"]
    manifest, verdict = version.manifest, version.verdict
    compared = {
        "weights": data.get("sha256") == version.artifact_sha256 == manifest["sha256"],
        "parent": manifest["parent_sha256"] == version.parent.artifact_sha256,
        "manifest": data.get("manifest_sha256") == digest(manifest),
        "verdict": manifest["verdict_sha256"] == digest(verdict),
    }
    if wrong := [name for name, holds in compared.items() if not holds]:
        msg = f"The {wrong[0]} of version {version.number} in the database is not what entry {entry.seq} says."
        raise LedgerDamaged(msg)
    return Publication(
        request=str(version.job_id),
        origin=ring.origin,
        index=entry.seq,
        leaf_hash=entry.leaf_hash.hex(),
        accepted_at=to_rfc3339(entries[0].at),
        published_at=to_rfc3339(entry.at),
        received_on=request.received_on.isoformat(),
        legal_ground=request.legal_ground,
        artifact=artifact_name(version),
        parent=artifact_name(version.parent),
        manifest=manifest,
        manifest_sha256=digest(manifest),
        verdict=verdict,
        policy_sha256=Policy.model_validate(verdict["policy"]).sha256,
        is_overridden=version.overridden_by is not None,
    )


def _published_entry(session: Session, entries: list[LedgerEntry]) -> LedgerEntry:
    """The entry of the publication, once it was shown to be in the ledger as the head has it."""
    for entry in entries:
        if entry.type == "request.transition" and json.loads(entry.leaf).get("to") == JobState.PUBLISHED:
            head = session.execute(select(LedgerHead).where(LedgerHead.id == 1)).scalar_one()
            proof = inclusion_proof(session, entry.seq, head.tree_size)
            root = root_of([bytes.fromhex(node) for node in head.frontier])
            if leaf_hash(entry.leaf) != proof.leaf_hash or proof.root != root:
                msg = f"Entry {entry.seq} is not what the ledger's head was made of."
                raise LedgerDamaged(msg)
            return entry
    msg = "Expected a ledger entry of the publication, found none."
    raise LedgerDamaged(msg)
