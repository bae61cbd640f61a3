"""Rows of models, versions and aliases as what the API answers."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.models.schemas import (
    AliasList,
    AliasOut,
    ForgottenOut,
    GuardOut,
    LabelList,
    LabelOut,
    ModelItem,
    ModelOut,
    ModelPage,
    OriginOut,
    QuarantineOut,
    SuccessorOut,
    VerdictSummary,
    VersionOut,
    VersionPage,
)
from core.states import VersionState
from models_store.lineage.retired import quarantines_of, successor_json, successor_of
from models_store.lineage.tables import Quarantine
from models_store.tables import Model, ModelAlias, ModelVersion


def model_url(name: str) -> str:
    """Where a model stands."""
    return f"/models/{name}"


def version_url(model: Model, number: int) -> str:
    """Where a version stands."""
    return f"{model_url(model.name)}/versions/{number}"


def alias_url(model: Model, name: str) -> str:
    """Where an alias stands."""
    return f"{model_url(model.name)}/aliases/{name}"


def model_item(model: Model) -> ModelItem:
    """A model in a list."""
    return ModelItem(
        name=model.name,
        architecture=model.architecture,
        num_labels=len(model.labels),
        last_version=model.last_version,
        created_at=model.created_at,
        links=_model_links(model.name),
    )


def model_out(
    model: Model,
    labels: Sequence[str | None],
    forgotten: Mapping[int, UUID],
    aliases: Sequence[ModelAlias],
    origin: ModelVersion | None,
) -> ModelOut:
    """A model with everything; `labels` as they may be shown."""
    return ModelOut(
        **dict(model_item(model)),
        architecture_options=model.architecture_options,
        labels=[None if index in forgotten else label for index, label in enumerate(labels)],
        input=model.input_spec,
        derived_from=None if origin is None else OriginOut(model=origin.model.name, version=origin.number),
        forgotten=[
            ForgottenOut(index=index, label=labels[index], request=job, links={"request": f"/unlearn/{job}"})
            for index, job in sorted(forgotten.items())
        ],
        aliases=[alias_out(model, alias) for alias in aliases],
    )


def model_page(models: Sequence[Model], limit: int) -> ModelPage:
    """A page of models; `models` holds one more than fits if there is a next page."""
    items, after = models[:limit], None
    if len(models) > limit:
        after = f"/models?limit={limit}&after={items[-1].id}"
    return ModelPage(items=[model_item(model) for model in items], next=after)


def version_out(session: Session, version: ModelVersion) -> VersionOut:
    """A version."""
    rows = quarantines_of(session, [version.id]).get(version.id, [])
    return _version_out(version, _quarantine(session, rows))


def _version_out(version: ModelVersion, quarantine: QuarantineOut | None) -> VersionOut:
    return VersionOut(
        model=version.model.name,
        version=version.number,
        state=version.state,
        sha256=version.artifact_sha256,
        size_bytes=version.size_bytes,
        parent=version.parent.number if version.parent else None,
        request=version.job_id,
        forgotten=version.forgotten,
        verdict=_verdict(version.verdict),
        overridden_by=version.overridden_by,
        override_reason=version.override_reason,
        problem=version.problem,
        guard=None if version.guard is None else GuardOut.model_validate(version.guard),
        quarantine=quarantine,
        created_at=version.created_at,
        links=_version_links(version),
    )


def _quarantine(session: Session, rows: Sequence[Quarantine]) -> QuarantineOut | None:
    if not rows:
        return None
    first, held = rows[0], sorted({index for row in rows for index in row.class_indices})
    classes = "a class" if len(held) == 1 else f"{len(held)} classes"
    successor = successor_json(successor_of(session, first))
    return QuarantineOut(
        at=first.at,
        request=first.job_id,
        relation=first.relation,
        class_indices=held,
        requests=[row.job_id for row in rows],
        why=f"It holds {classes} that {'a request' if len(rows) == 1 else 'requests'} deleted from its lineage.",
        successor=None if successor is None else SuccessorOut.model_validate(successor),
    )


def version_page(session: Session, model: Model, versions: Sequence[ModelVersion], limit: int) -> VersionPage:
    """A page of versions; `versions` holds one more than fits if there is a next page."""
    items, after = versions[:limit], None
    if len(versions) > limit:
        after = f"{model_url(model.name)}/versions?limit={limit}&after={items[-1].number}"
    rows = quarantines_of(session, [version.id for version in items])
    shown = [_version_out(version, _quarantine(session, rows.get(version.id, []))) for version in items]
    return VersionPage(items=shown, next=after)


def label_list(version: ModelVersion, retired: Mapping[int, UUID]) -> LabelList:
    """The labels of a version's outputs."""
    return LabelList(
        items=[
            LabelOut(
                index=index,
                label=None if index in retired else label,
                state="retired" if index in retired else "in-use",
                request=retired.get(index),
            )
            for index, label in enumerate(version.model.labels)
        ]
    )


def alias_out(model: Model, alias: ModelAlias) -> AliasOut:
    """An alias."""
    return AliasOut(
        name=alias.name,
        version=alias.version.number,
        state=alias.version.state,
        revision=alias.revision,
        updated_at=alias.updated_at,
        links={"self": alias_url(model, alias.name), "version": version_url(model, alias.version.number)},
    )


def alias_list(model: Model, aliases: Sequence[ModelAlias]) -> AliasList:
    """All aliases of a model."""
    return AliasList(items=[alias_out(model, alias) for alias in aliases])


def _model_links(name: str) -> dict[str, str]:
    here = model_url(name)
    return {"self": here, **{part: f"{here}/{part}" for part in ("weights", "versions", "aliases")}}


def _version_links(version: ModelVersion) -> dict[str, str]:
    links = {"self": version_url(version.model, version.number), "model": model_url(version.model.name)}
    links["labels"] = f"{links['self']}/labels"
    if version.state == VersionState.READY:
        links["artifact"] = f"{links['self']}/artifact"
    if version.state == VersionState.QUARANTINED:
        links["break_glass"] = f"{links['self']}/break-glass"
    if version.parent is not None:
        links["parent"] = version_url(version.model, version.parent.number)
    if version.job_id is not None:
        links["attestations"] = f"{links['self']}/attestations"
        links["model_signature"] = f"{links['self']}/model.sig"
        links["request"] = f"/unlearn/{version.job_id}"
    return links


def _verdict(verdict: Mapping[str, Any] | None) -> VerdictSummary | None:
    if verdict is None:
        return None
    policy = verdict.get("policy") or {}
    return VerdictSummary(
        outcome=verdict.get("outcome", "unknown"),
        policy=policy.get("name"),
        policy_version=policy.get("version"),
        decided_by=verdict.get("decided_by", []),
    )
