"""Writing and finding policies. A version is written once; a change is the next version."""

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.policies.schemas import PutPolicy
from app.policies.tables import PolicyVersion
from core.clock import database_now
from core.errors import Conflict
from core.ledger.entries import Record, append
from core.policy.margins import refuse_impossible
from core.policy.policies import SHIPPED, Policy, UnknownPolicy, find_shipped, read_reference


class PolicyReserved(Conflict):
    """The name belongs to a policy that is shipped with the service."""

    slug = "policy-reserved"
    title = "The policy is shipped with the service"


def put(session: Session, who: Caller, name: str, body: PutPolicy) -> tuple[PolicyVersion, bool]:
    """Make this the newest version of the tenant's policy, with a ledger entry, unless it is already; caller commits.

    Returns:
        The newest version, and whether it was written now.

    Raises:
        PolicyReserved: the name is a shipped policy's.
        ImpossibleThreshold: a margin makes no sense for its test.
    """
    if name in SHIPPED:
        msg = f"Expected a name of your own, got {name!r}, which is shipped with the service and cannot be changed."
        raise PolicyReserved(msg, links={"policy": f"/policies/{name}"})
    refuse_impossible(body.deciding, member="deciding")
    while True:
        newest = find_stored(session, who.tenant, name)
        if newest is not None and _says(newest, body):
            return newest, False
        row = _next_version(session, who, name, body, newest)
        try:
            with session.begin_nested():
                session.add(row)
        except IntegrityError:  # another caller has just written this version: theirs is the newest now
            continue
        data = {"policy": name, "version": row.version, "sha256": row.sha256}
        append(session, Record(type="policy.version_added", tenant=who.tenant, actor=who.actor, data=data))
        return row, True


def find_policy(session: Session, tenant: str, reference: str) -> Policy:
    """The policy that a request names: `NAME` for its newest version, `NAME/VERSION` for that one.

    Raises:
        UnknownPolicy: neither a shipped policy nor one of the tenant's is meant.
    """
    name, version = read_reference(reference)
    shipped = find_shipped(name, version)
    if shipped is not None:
        return shipped
    stored = find_stored(session, tenant, name, version)
    if stored is None:
        known = ", ".join(sorted(SHIPPED))
        msg = f"Expected one of the policies {known} or one of your own, as NAME or NAME/VERSION, got {reference!r}."
        raise UnknownPolicy(msg, pointer="#/policy")
    return as_policy(stored)


def find_stored(session: Session, tenant: str, name: str, version: int | None = None) -> PolicyVersion | None:
    """The tenant's policy of this name, by default in its newest version."""
    query = select(PolicyVersion).where(PolicyVersion.tenant == tenant, PolicyVersion.name == name)
    if version is not None:
        query = query.where(PolicyVersion.version == version)
    return session.execute(query.order_by(PolicyVersion.version.desc()).limit(1)).scalar_one_or_none()


def newest_stored(session: Session, tenant: str) -> list[PolicyVersion]:
    """The newest version of each of the tenant's policies, by name."""
    own = PolicyVersion.tenant == tenant
    newest = select(func.max(PolicyVersion.id)).where(own).group_by(PolicyVersion.name)
    query = select(PolicyVersion).where(own, PolicyVersion.id.in_(newest)).order_by(PolicyVersion.name)
    return list(session.execute(query).scalars())


def as_policy(row: PolicyVersion) -> Policy:
    """A stored version as what judges."""
    return Policy.model_validate({"name": row.name, "version": row.version, "deciding": row.deciding})


def _says(row: PolicyVersion, body: PutPolicy) -> bool:
    return row.description == body.description and as_policy(row).deciding == body.deciding


def _next_version(
    session: Session, who: Caller, name: str, body: PutPolicy, newest: PolicyVersion | None
) -> PolicyVersion:
    policy = Policy(name=name, version=newest.version + 1 if newest else 1, deciding=body.deciding)
    return PolicyVersion(
        tenant=who.tenant,
        actor=who.actor,
        name=name,
        version=policy.version,
        description=body.description,
        deciding=policy.as_json()["deciding"],
        sha256=policy.sha256,
        created_at=database_now(session),
    )
