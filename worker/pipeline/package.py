"""Package: the manifest that stays with the new version and says how it came to be."""

from core.requests.repository import find_request
from models_store.manifests import class_commitments, manifest_of
from worker.pipeline.context import Context
from worker.pipeline.outputs import Packaged


def run(context: Context) -> Packaged:
    erased, loaded = context.erased, context.loaded
    with context.database.reading() as session:
        classes = class_commitments(find_request(session, context.tenant, context.lease.job_id))
    manifest = manifest_of(
        context.lease.job_id,
        parent_sha256=loaded.base_sha256,
        sha256=erased.sha256,
        classes=classes,
        made={"method": erased.method, "environment": erased.environment, "samples": erased.samples},
        seed=context.spec.seed,
        dataset_files=loaded.files,
        verdict=context.verdict().as_json(),
    )
    return Packaged(manifest=manifest)
