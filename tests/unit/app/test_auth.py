"""Who counts as being on this machine."""

from typing import Any

import pytest

from app.auth import LOCAL_OPERATOR, Caller, is_local
from app.keys.service import SCOPES

HERE = ("127.0.0.1", 5)


def scope(client: Any = HERE, server: Any = HERE) -> dict[str, Any]:
    return {"client": client, "server": server, "scheme": "http"}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_every_spelling_of_loopback_is_local(address: str) -> None:
    assert is_local(scope((address, 1), (address, 2)), {"host": "localhost"})


@pytest.mark.parametrize(
    "address",
    ["255.255.255.255", "10.0.0.1", "::", "::ffff:10.0.0.1", "169.254.0.1", "localhost", "127.0.0.1.example", ""],
)
def test_no_other_address_is_local_at_either_end(address: str) -> None:
    assert not is_local(scope(client=(address, 1)), {"host": "localhost"})
    assert not is_local(scope(server=(address, 1)), {"host": "localhost"})


@pytest.mark.parametrize("end", [None, (), ("/run/api.sock", None)])
def test_an_unknown_address_is_not_local(end: Any) -> None:
    assert not is_local(scope(client=end), {"host": "localhost"})
    assert not is_local(scope(server=end), {"host": "localhost"})


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "[::1", "a:b:c"]
)
def test_a_foreign_host_name_is_not_local(host: str) -> None:
    assert not is_local(scope(), {"host": host})


def test_admin_may_all_but_override_and_others_what_their_scopes_say() -> None:
    reader = Caller("t", "key:1", frozenset({"models:read"}))
    both = Caller("t", "key:2", frozenset({"admin", "override", "break-glass"}))
    assert {scope for scope in SCOPES if not LOCAL_OPERATOR.may(scope)} == {"override", "break-glass"}
    assert all(both.may(scope) for scope in SCOPES)
    assert reader.may("models:read")
    assert not reader.may("models:write")
