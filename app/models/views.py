"""Rows of models, versions and aliases as what the API answers."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.models.schemas import (
    AliasList,
    AliasOut,
    ForgottenOut,
    ModelItem,
    ModelOut,
    ModelPage,
    VerdictSummary,
    VersionOut,
    VersionPage,
)
from core.states import VersionState
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


def model_out(model: Model, forgotten: Mapping[int, UUID], aliases: Sequence[ModelAlias]) -> ModelOut:
    """A model with everything."""
    return ModelOut(
        **dict(model_item(model)),
        architecture_options=model.architecture_options,
        labels=model.labels,
        input=model.input_spec,
        forgotten=[
            ForgottenOut(index=index, label=model.labels[index], request=job, links={"request": f"/unlearn/{job}"})
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


def version_out(version: ModelVersion) -> VersionOut:
    """A version."""
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
        created_at=version.created_at,
        links=_version_links(version),
    )


def version_page(model: Model, versions: Sequence[ModelVersion], limit: int) -> VersionPage:
    """A page of versions; `versions` holds one more than fits if there is a next page."""
    items, after = versions[:limit], None
    if len(versions) > limit:
        after = f"{model_url(model.name)}/versions?limit={limit}&after={items[-1].number}"
    return VersionPage(items=[version_out(version) for version in items], next=after)


def alias_out(model: Model, alias: ModelAlias) -> AliasOut:
    """An alias."""
    return AliasOut(
        name=alias.name,
        version=alias.version.number,
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
    if version.state == VersionState.READY:
        links["artifact"] = f"{links['self']}/artifact"
    if version.parent is not None:
        links["parent"] = version_url(version.model, version.parent.number)
    if version.job_id is not None:
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
