"""A published deletion without a worker: what submission, pipeline and publication leave behind, in milliseconds."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core.ledger.entries import decimal
from core.policy.catalogue import TestName
from core.policy.policies import STANDARD
from core.policy.verdict import Evidence, judge
from core.requests import claims
from core.requests.claims import Lease
from core.requests.repository import find_request
from core.requests.tables import JobStep, UnlearnRequest
from core.states import JobState
from models_store.manifests import class_commitments, digest, manifest_of
from models_store.publishing import Candidate, publish_candidate
from models_store.registry import find_model, find_version
from models_store.tables import ModelVersion
from tests.integration.app.api import Api, body, safetensors

METHOD = {"name": "paper", "alpha_r": 10.0, "alpha_f": 3.5, "table": [{"score": 0.5}]}
FILES = {"train": "aa" * 32, "test": "bb" * 32}


@dataclass(frozen=True)
class Published:
    """A request that was published as version `number` of `m`."""

    id: str
    sent: bytes
    receipt: dict[str, Any] | None
    number: int
    sha256: str

    @property
    def version(self) -> str:
        return f"/models/m/versions/{self.number}"


def publish(api: Api, name: str = "ant", *, value: float = 1.0, **members: Any) -> Published:
    """Delete a class from the newest version of `m`; the weights are one number."""
    sent = json.dumps(body(name, **members)).encode()
    answer = api.local.post("/unlearn", content=sent, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    lease = claims.claim(api.database, owner="w", ttl=timedelta(minutes=1))
    assert lease is not None
    blob = api.resources.storage.put([safetensors(value)], 1 << 20)
    values = dict.fromkeys(STANDARD.deciding, 0.01) | {TestName.MEMBERSHIP_AUC: 0.5}
    evidence = [Evidence(name=one, value=v, low=v - 0.004, high=v + 0.004, n=50) for one, v in values.items()]
    evidence.append(Evidence(name=TestName.TOW, value=None, low=None, high=None, n=0, problem="no reference"))
    verdict = judge(evidence, STANDARD)
    passed = verdict.passed()
    assert passed is not None
    with api.database.writing() as session:
        request = find_request(session, "default", lease.job_id)
        model = find_model(session, "default", "m", lock=True)
        base = find_version(session, model, model.last_version)
        session.get_one(UnlearnRequest, lease.job_id).base_version_id = base.id
        session.add(loaded_step(lease, base))
        environment, samples = {"torch": "2.12.1", "threads": 1}, {"retain": 900, "forget": 900, "validation": 100}
        manifest = manifest_of(
            lease.job_id,
            parent_sha256=base.artifact_sha256,
            sha256=blob.sha256,
            classes=class_commitments(request),
            made={"method": METHOD, "environment": environment, "samples": samples},
            seed=0,
            dataset_files=FILES,
            verdict=verdict.as_json(),
        )
        forgotten = sorted({*base.forgotten, *request.class_indices})
        candidate = Candidate(
            job_id=lease.job_id,
            fence=lease.fence,
            base_version_id=base.id,
            sha256=blob.sha256,
            size_bytes=blob.size_bytes,
            forgotten=forgotten,
            verdict=verdict.as_json(),
            manifest=manifest,
        )
        version = publish_candidate(session, model, candidate, passed, actor=lease.actor)
        result = {
            "base_version": base.number,
            "new_version": version.number,
            "artifact_sha256": blob.sha256,
            "method": METHOD,
            "measures": {"original": {}, "unlearned": {}},
            "verdict": verdict.as_json(),
            "environment": environment,
            "forgotten": forgotten,
            "samples": samples,
        }
        facts = {
            "verdict": verdict.outcome.value,
            "policy": str(STANDARD),
            "verdict_sha256": digest(verdict.as_json()),
            "measures": {one.name.value: decimal(one.value) for one in verdict.judgements if one.value is not None},
            "base_version": base.number,
            "version": version.number,
            "sha256": blob.sha256,
            "manifest_sha256": digest(manifest),
        }
        claims.finish(session, lease, JobState.PUBLISHED, result=result, data=facts)
        number = version.number
    return Published(str(lease.job_id), sent, answer.json()["receipt"], number, blob.sha256)


def loaded_step(lease: Lease, base: ModelVersion) -> JobStep:
    """What the step `load` leaves behind."""
    return JobStep(
        job_id=lease.job_id,
        step="load",
        tenant="default",
        actor=lease.actor,
        fence=lease.fence,
        started_at=base.created_at,
        finished_at=base.created_at,
        output={"inputs": "", "seconds": 0.0, "output": {"files": FILES}},
        output_sha256="",
    )
