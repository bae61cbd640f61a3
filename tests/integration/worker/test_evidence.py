"""Evidence of what the real pipeline did: the facts it writes down are those that the verifier looks for."""

from core.evidence.bundle import check_bundle
from core.evidence.trust import Trust
from core.states import JobState
from tests.integration.app.api import Api
from tests.integration.app.audit.test_checkpoints import make_keys
from tests.integration.worker.conftest import Desk
from tests.integration.worker.support import job_of, on_both
from tests.integration.worker.test_pipeline import STRICT, submit, versions_of, work


@on_both
def test_a_deletion_published_or_rejected_by_the_pipeline_can_be_proved(desk: Desk) -> None:
    api = Api(desk.settings.database_url, desk.settings.data_dir)
    ring = make_keys(api)
    published, rejected = submit(desk, [3]), submit(desk, [7], policy=STRICT)
    work(desk)
    work(desk)
    reader = api.with_key("audit:read", tenant="t")
    weights = versions_of(desk.database)[-1].artifact_sha256
    for request, state in ((published, JobState.PUBLISHED), (rejected, JobState.REJECTED)):
        assert job_of(desk.database, request).state == state
        answer = reader.get(f"/unlearn/{request}/evidence")
        assert answer.status_code == 200, answer.text
        trust = Trust(
            keys=ring.publics("checkpoint"),
            request_id=str(request),
            weights_sha256=weights if state == JobState.PUBLISHED else None,
        )
        findings = check_bundle(answer.content, trust)
        assert [finding.sentence for finding in findings if not finding.holds or not finding.decided] == []
        told = " ".join(finding.sentence for finding in findings)
        assert f"is {state}" in told
        assert "computed again here" in told
    api.resources.close()
