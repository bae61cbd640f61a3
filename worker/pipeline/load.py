"""Load: decide what the job works on, under the model's lock, and read it.

The base is resolved here and not at submission: of two requests queued at once, the second must start from what the
first one published.
"""

from sqlalchemy.orm import Session

from core.requests.claims import hold
from core.requests.repository import find_request
from core.requests.spec import UnlearnSpec
from core.requests.tables import UnlearnRequest
from core.states import VersionState
from models_store.datasets import Source
from models_store.registry import (
    AlreadyDeleted,
    find_dataset,
    find_model,
    forgotten_classes,
    refuse_unready,
    resolve_base,
)
from models_store.tables import Model, ModelVersion
from worker.files import check_unchanged, checked_files, limits_of
from worker.patience import patiently
from worker.pipeline.context import Context
from worker.pipeline.materials import Blueprint, Materials
from worker.pipeline.outputs import Loaded


def run(context: Context) -> Loaded:
    with context.database.reading() as session:
        dataset = find_dataset(session, context.tenant, context.spec.dataset)
    refuse_unready(dataset)
    files = checked_files(dataset, context.storage, context.settings)

    def settle() -> tuple[Loaded, Blueprint]:
        with context.database.writing() as session:
            return _settled(session, context, dataset.id, {file.split: file.sha256 for file in files})

    loaded, blueprint = patiently(settle, at_most=context.settings.lease_ttl)
    context.progress.reach(0.2)
    has_validation = "validation" in (dataset.summary or {}).get("counts", {})
    context.read = _read(context, loaded, blueprint, [file.source for file in files], has_validation=has_validation)
    check_unchanged(files, dataset.sources)
    return loaded


def _read(
    context: Context, loaded: Loaded, blueprint: Blueprint, sources: list[Source], *, has_validation: bool
) -> Materials:
    limits = limits_of(context.settings)
    return Materials(
        blueprint,
        blueprint.network(context.storage, loaded.base_sha256, context.device),
        blueprint.images(sources, "train", limits),
        blueprint.images(sources, "test", limits),
        blueprint.images(sources, "validation", limits) if has_validation else None,
    )


def _settled(session: Session, context: Context, dataset_id: int, files: dict[str, str]) -> tuple[Loaded, Blueprint]:
    hold(session, context.lease)
    request = find_request(session, context.tenant, context.lease.job_id)
    model = find_model(session, context.tenant, context.spec.model, lock=True)
    gone = set(forgotten_classes(session, model))
    base = _base(session, model, request, context.spec, gone)
    forget = gone | set(context.spec.class_indices)
    erase = forget - set(base.forgotten)
    if not erase:
        msg = f"Expected version {base.number} to hold a class of this request, got one without any of them."
        raise AlreadyDeleted(msg, class_indices=sorted(context.spec.class_indices))
    request.base_version_id = base.id
    loaded = Loaded(
        model_id=model.id,
        base_version_id=base.id,
        base_version=base.number,
        base_sha256=base.artifact_sha256,
        dataset_id=dataset_id,
        files=files,
        forget=sorted(forget),
        erase=sorted(erase),
    )
    return loaded, Blueprint.of(model)


def _base(session: Session, model: Model, request: UnlearnRequest, spec: UnlearnSpec, gone: set[int]) -> ModelVersion:
    """The base of the first attempt, unless classes it holds were deleted from the model since."""
    if request.base_version_id is not None:
        kept = session.get(ModelVersion, request.base_version_id)
        if kept is not None and VersionState(kept.state).is_kept and gone <= set(kept.forgotten):
            return kept
    return resolve_base(session, model, version=spec.version, alias=spec.alias, for_work=True)
