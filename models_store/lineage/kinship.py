"""Who is akin to a model: versions of the same model, the same bytes under other names, and declared descent.

Two models are of one lineage when they share a version's bytes, or when one is declared to come from a version of the
other; and so on from model to model. A version that shares bytes with ours, or was made here from one that does, has
our outputs: its classes are told by index. Of all others nothing but the label says which class is meant.
"""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from models_store.lineage.tables import ModelOrigin, Relation
from models_store.tables import Model, ModelVersion


@dataclass(frozen=True)
class Relative:
    """A version of the lineage, and the classes in question as its own model numbers them."""

    version: ModelVersion
    relation: Relation
    named: frozenset[int]
    """Those that its outputs stand for, whether or not it has forgotten them."""
    origin_id: int | None
    """The version that its model is declared to come from."""

    @property
    def held(self) -> list[int]:
        """Those that it has not forgotten."""
        return sorted(self.named - set(self.version.forgotten))


def models_akin(session: Session, model: Model) -> dict[int, Model]:
    """Every model of the lineage by row id, the given one among them; never another tenant's."""
    akin, fresh = {model.id: model}, {model.id}
    while fresh:
        found = session.execute(
            select(Model).where(Model.tenant == model.tenant, Model.id.not_in(akin), _is_next_to(fresh))
        ).scalars()
        new = {one.id: one for one in found}
        akin |= new
        fresh = set(new)
    return akin


def relatives(
    session: Session, model: Model, base: ModelVersion, classes: set[int], *, lock: bool = False
) -> list[Relative]:
    """Every version of the lineage by row id, with what it calls the classes.

    Args:
        session: any transaction; a writing one with `lock`.
        model: whose classes are meant.
        base: the version that the deletion started from.
        classes: indices in `model`.
        lock: hold the versions' rows until the transaction ends. In the order of their ids and before any ledger
            entry, so that two publications in one lineage wait for each other instead of in a circle.
    """
    akin = models_akin(session, model)
    query = select(ModelVersion).where(ModelVersion.model_id.in_(akin)).order_by(ModelVersion.id)
    if lock:
        # Not against rows that only point to a version, such as a new alias.
        query = query.with_for_update(of=ModelVersion, key_share=True).execution_options(populate_existing=True)
    versions = {one.id: one for one in session.execute(query).scalars()}
    origins = select(ModelOrigin.model_id, ModelOrigin.version_id).where(ModelOrigin.model_id.in_(akin))
    origin_of: dict[int, int] = {one: version for one, version in session.execute(origins)}  # noqa: C416 rows are not pairs to mypy
    ours = {one.artifact_sha256 for one in versions.values() if one.model_id == model.id}
    above = {one.id for one in line_of(versions, base)}
    labels = {model.labels[index] for index in classes}
    found = []
    for version in versions.values():
        if version.model_id == model.id:
            relation, named = (Relation.ANCESTOR if version.id in above else Relation.SIBLING), frozenset(classes)
        elif any(one.artifact_sha256 in ours for one in line_of(versions, version)):
            relation = Relation.COPY
            named = frozenset(index for index in classes if index < len(version.model.labels))
        else:
            relation = Relation.KIN
            named = frozenset(index for index, label in enumerate(version.model.labels) if label in labels)
        found.append(Relative(version, relation, named, origin_of.get(version.model_id)))
    return found


def line_of(versions: dict[int, ModelVersion], version: ModelVersion) -> list[ModelVersion]:
    """A version and what it was made from here, up to the upload."""
    line = [version]
    while (parent := versions.get(line[-1].parent_version_id or 0)) is not None:
        line.append(parent)
    return line


def _is_next_to(models: set[int]) -> ColumnElement[bool]:
    own = select(ModelVersion.id).where(ModelVersion.model_id.in_(models))
    digests = select(ModelVersion.artifact_sha256).where(ModelVersion.model_id.in_(models))
    copies = select(ModelVersion.model_id).where(ModelVersion.artifact_sha256.in_(digests))
    children = select(ModelOrigin.model_id).where(ModelOrigin.version_id.in_(own))
    parents = (
        select(ModelVersion.model_id)
        .join(ModelOrigin, ModelOrigin.version_id == ModelVersion.id)
        .where(ModelOrigin.model_id.in_(models))
    )
    return or_(Model.id.in_(copies), Model.id.in_(children), Model.id.in_(parents))
