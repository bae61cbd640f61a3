"""From a real rejection to a published version: the API overrides what the pipeline left behind."""

from core.requests.tables import JobStep
from core.states import JobState
from models_store.manifests import digest
from tests.integration.app.api import Api
from tests.integration.worker.conftest import Desk
from tests.integration.worker.support import job_of, on_both
from tests.integration.worker.test_pipeline import STRICT, gone, submit, versions_of, work

REASON = "The margin cannot be met with so few images, and the board accepts that."


@on_both
def test_what_the_pipeline_rejects_can_be_overridden_and_built_upon(desk: Desk) -> None:
    rejected = submit(desk, [3], policy=STRICT)
    work(desk)
    result = job_of(desk.database, rejected).result
    assert job_of(desk.database, rejected).state == JobState.REJECTED
    assert result is not None
    api = Api(desk.settings.database_url, desk.settings.data_dir)
    chief = api.with_key("override", "artifacts:read", tenant="t")
    answer = chief.post(f"/unlearn/{rejected}/override", json={"reason": REASON})
    assert answer.status_code == 200, answer.text
    base, version = versions_of(desk.database)
    assert (version.artifact_sha256, version.parent_version_id) == (result["artifact_sha256"], base.id)
    assert (version.override_reason, version.verdict) == (REASON, result["verdict"])
    assert gone(desk) == {3: rejected}
    download = chief.get("/models/digits/versions/2/artifact")
    assert (download.status_code, download.headers["expunge-verdict"]) == (200, result["verdict"]["outcome"])
    # The next request starts from it, and its own verdict covers the class once more.
    later = submit(desk, [7])
    work(desk)
    assert job_of(desk.database, later).state == JobState.PUBLISHED
    assert [(one.forgotten, one.overridden_by is None) for one in versions_of(desk.database)] == [
        ([], True),
        ([3], False),
        ([3, 7], True),
    ]
    api.resources.close()


def test_the_manifest_of_an_override_has_what_the_packaging_step_would_have_written(desk: Desk) -> None:
    passed = submit(desk, [3])
    work(desk)
    rejected = submit(desk, [7], policy=STRICT)
    work(desk)
    api = Api(desk.settings.database_url, desk.settings.data_dir)
    api.with_key("override", tenant="t").post(f"/unlearn/{rejected}/override", json={"reason": REASON})
    first, second = versions_of(desk.database)[1:]
    assert first.manifest is not None
    assert second.manifest is not None
    assert set(second.manifest) - set(first.manifest) == {"override"}
    assert second.manifest["dataset_files"] == first.manifest["dataset_files"]
    assert second.manifest["parent_sha256"] == first.artifact_sha256
    assert second.manifest["verdict_sha256"] == digest(second.verdict)
    with desk.database.reading() as session:
        assert session.get(JobStep, (passed, "package")) is not None
    api.resources.close()
