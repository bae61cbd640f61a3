"""API keys: only their hash is kept, and only a whole, living one opens."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.keys import service
from app.keys.tables import ApiKey
from core.clock import database_now
from core.errors import Invalid
from core.ledger.tables import LedgerEntry
from tests.integration.app.api import Api

DAY = timedelta(days=1)


def make(api: Api, *scopes: str, lifetime: timedelta | None = None) -> tuple[str, str]:
    """A key's id and the key."""
    with api.database.writing() as session:
        row, text = service.create(
            session,
            tenant="t",
            actor="cli",
            name="n",
            scopes=list(scopes or ("models:read",)),
            environment="live",
            lifetime=lifetime,
        )
    return row.id, text


def test_a_new_key_opens_for_its_tenant_with_its_scopes(api: Api) -> None:
    key_id, text = make(api, "models:read", "audit:read")
    known = service.verify(api.database, text)
    assert text.startswith(f"exp_live_{key_id}_")
    assert (known.id, known.tenant, known.scopes) == (key_id, "t", ("audit:read", "models:read"))


def test_neither_database_nor_ledger_holds_the_secret(small_api: Api) -> None:
    key_id, text = make(small_api)
    secret = text.rsplit("_", 1)[1]
    with small_api.database.reading() as session:
        row = session.get(ApiKey, key_id)
        leaves = b"".join(entry.leaf for entry in session.query(LedgerEntry))
    assert row is not None
    assert secret.encode() not in row.secret_sha256 + leaves
    assert key_id.encode() in leaves


def test_every_change_of_a_character_is_refused(small_api: Api) -> None:
    _, text = make(small_api)
    for position in range(4, len(text)):
        wrong = text[:position] + ("x" if text[position] != "x" else "y") + text[position + 1 :]
        with pytest.raises(service.InvalidKey):
            service.verify(small_api.database, wrong)


def test_another_secret_with_a_right_checksum_is_refused(small_api: Api) -> None:
    key_id, text = make(small_api)
    forged = service._with_checksum(f"exp_live_{key_id}_{'A' * service.SECRET_LENGTH}")
    unknown = service._with_checksum(f"exp_live_{'Z' * 8}_{'A' * service.SECRET_LENGTH}")
    for wrong in (forged, unknown, "", "exp_", text + "x", text.upper(), "x" * 10_000, text + "\n"):
        with pytest.raises(service.InvalidKey):
            service.verify(small_api.database, wrong)


def test_an_expired_key_does_not_open(api: Api) -> None:
    key_id, text = make(api, lifetime=DAY)
    assert service.verify(api.database, text).id == key_id
    with api.database.writing() as session:
        session.execute(update(ApiKey).values(expires_at=database_now(session) - timedelta(seconds=1)))
    with pytest.raises(service.InvalidKey):
        service.verify(api.database, text)


def test_a_revoked_key_does_not_open_and_stays_revoked(api: Api) -> None:
    key_id, text = make(api)
    with api.database.writing() as session:
        first = service.revoke(session, key_id, actor="cli").revoked_at
    with api.database.writing() as session:
        assert service.revoke(session, key_id, actor="cli").revoked_at == first
        with pytest.raises(service.UnknownKey):
            service.revoke(session, "nokey000", actor="cli")
    with pytest.raises(service.InvalidKey):
        service.verify(api.database, text)


def test_the_use_is_noted_at_most_once_a_minute(api: Api) -> None:
    key_id, text = make(api)

    def last_used() -> object:
        with api.database.reading() as session:
            row = session.get(ApiKey, key_id)
            assert row is not None
            return row.last_used_at

    service.verify(api.database, text)
    first = last_used()
    service.verify(api.database, text)
    assert first is not None
    assert last_used() == first
    with api.database.writing() as session:
        session.execute(update(ApiKey).values(last_used_at=database_now(session) - timedelta(seconds=61)))
    service.verify(api.database, text)
    assert last_used() >= first  # type: ignore[operator]


@pytest.mark.parametrize("scopes", [[], ["everything"], ["models:read", "everything"]])
def test_scopes_that_do_not_exist_are_refused(small_api: Api, scopes: list[str]) -> None:
    with small_api.database.writing() as session, pytest.raises(Invalid):
        service.create(session, tenant="t", actor="cli", name="n", scopes=scopes, environment="live")
