"""Whether the tests that a policy decides by can be made for a request: what they compare with must be there."""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from core.errors import Invalid
from core.policy.catalogue import Tier
from core.policy.margins import Policy
from models_store.references import fitting_references
from models_store.tables import Model


class NoReference(Invalid):
    """The policy compares with a model that was trained without the classes, and none is registered."""

    slug = "no-reference"
    title = "A reference is needed"


class NoAudit(Invalid):
    """The policy decides by shadow models, which are made for finished requests only."""

    slug = "no-audit"
    title = "An audit is needed"


def refuse_unmeasurable(session: Session, model: Model, policy: Policy, leaving: Iterable[int]) -> None:
    """Refuse a policy with deciding tests for which something is missing: its verdict could only be inconclusive.

    Args:
        session: any transaction.
        model: what is deleted from.
        policy: what will decide.
        leaving: every class that the new version must be without, those deleted before included.

    Raises:
        NoReference: it compares with a reference, and none fits.
        NoAudit: it decides by shadow models.
    """
    absent = sorted(leaving)
    compared = policy.of_tier(Tier.REFERENCE)
    if compared and not fitting_references(session, model, absent):
        msg = (
            f"Expected a reference of model {model.name!r} that is ready and was trained without exactly the class "
            f"indices {absent}, because policy {policy} decides by {', '.join(compared)}, got none; "
            f"register one with POST /models/{model.name}/references."
        )
        raise NoReference(msg, pointer="#/policy", class_indices=absent, tests=compared)
    audited = policy.of_tier(Tier.AUDIT)
    if audited:
        msg = (
            f"Expected a policy whose tests are made for every request, got {policy}, "
            f"which decides by {', '.join(audited)}: shadow models are made for finished requests only, so every "
            "version would be rejected before it could be audited. Ask for the audit when the request is over, with "
            "POST /unlearn/{id}/audit."
        )
        raise NoAudit(msg, pointer="#/policy", tests=audited)
