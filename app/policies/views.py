"""Policies as what the API answers."""

from collections.abc import Iterable

from app.policies.schemas import PolicyList, PolicyOut
from app.policies.service import as_policy
from app.policies.tables import PolicyVersion
from core.policy.policies import DESCRIPTIONS, Policy


def version_url(name: str, version: int) -> str:
    """Where one version stands, for ever."""
    return f"/policies/{name}/versions/{version}"


def shipped_out(policy: Policy) -> PolicyOut:
    """A shipped policy."""
    return _out(policy, DESCRIPTIONS[policy.name], None)


def stored_out(row: PolicyVersion) -> PolicyOut:
    """A version of a policy of one's own."""
    return _out(as_policy(row), row.description, row)


def policy_list(shipped: Iterable[Policy], stored: Iterable[PolicyVersion]) -> PolicyList:
    """All of them."""
    return PolicyList(items=[*map(shipped_out, shipped), *map(stored_out, stored)])


def _out(policy: Policy, description: str, row: PolicyVersion | None) -> PolicyOut:
    return PolicyOut(
        name=policy.name,
        version=policy.version,
        description=description,
        deciding=policy.as_json()["deciding"],
        needs_reference=policy.needs_reference,
        needs_audit=policy.needs_audit,
        shipped=row is None,
        sha256=row.sha256 if row else policy.sha256,
        created_by=row.actor if row else None,
        created_at=row.created_at if row else None,
        links={"self": version_url(policy.name, policy.version), "newest": f"/policies/{policy.name}"},
    )
