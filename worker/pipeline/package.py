"""Package: the manifest that stays with the new version and says how it came to be."""

from importlib.metadata import version

from core.db.session import Database
from core.ledger.entries import commitment
from core.requests.repository import find_request
from worker.pipeline.context import Context
from worker.pipeline.outputs import Packaged, digest

FORMAT = "expunge-manifest/1"


def run(context: Context) -> Packaged:
    erased, loaded = context.erased, context.loaded
    manifest = {
        "format": FORMAT,
        "job": str(context.lease.job_id),
        "parent_sha256": loaded.base_sha256,
        "sha256": erased.sha256,
        "classes": _commitments(context.database, context),
        "method": {name: value for name, value in erased.method.items() if name != "table"},
        "seed": context.spec.seed,
        "environment": erased.environment,
        "samples": erased.samples,
        "dataset_files": loaded.files,
        "verdict_sha256": digest(context.verdict().as_json()),
        "code": {"expunge": version("expunge")},
    }
    return Packaged(manifest=manifest)


def _commitments(database: Database, context: Context) -> list[str]:
    """The classes asked for, as the ledger names them: never their labels."""
    with database.reading() as session:
        request = find_request(session, context.tenant, context.lease.job_id)
    if request.commitment_key is None:
        return []
    return [commitment(request.commitment_key, "class", str(label)) for label in request.class_labels]
