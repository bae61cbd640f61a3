"""The file of signing keys: closed to others, written whole, and never losing a public key."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.signing.keyring import BadKeyFile, KeyFile, Keyring, KeysExist, load, write

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def first() -> Keyring:
    return Keyring.first("unlearn.example.com/audit", now=NOW)


def test_the_first_ring_signs_each_use_with_a_key_of_its_own() -> None:
    ring = first()
    checkpoint, statement = (ring.signers(use, NOW) for use in ("checkpoint", "statement"))
    assert [key.name for key in checkpoint] == ["unlearn.example.com/audit"]
    assert [key.name for key in statement] == ["unlearn.example.com/audit/statements"]
    assert checkpoint[0].public.public != statement[0].public.public


def test_a_rotation_signs_with_both_keys_and_then_with_the_new_one() -> None:
    ring = first().rotated(now=NOW + DAY, until=NOW + 3 * DAY)
    names = ["unlearn.example.com/audit-2", "unlearn.example.com/audit"]
    assert [key.name for key in ring.signers("checkpoint", NOW + 2 * DAY)] == names
    assert [key.name for key in ring.signers("checkpoint", NOW + 3 * DAY)] == names[:1]
    assert [key.name for key in ring.publics("checkpoint")] == names[::-1]


def test_a_later_rotation_drops_private_halves_that_have_ended_and_no_public_one() -> None:
    once = first().rotated(now=NOW + DAY, until=NOW + 2 * DAY)
    twice = once.rotated(now=NOW + 5 * DAY, until=NOW + 6 * DAY)
    assert [key.seed is None for key in twice.keys] == [True] * 3 + [False] * 6
    assert twice.publics("statement")[:2] == once.publics("statement")
    assert len({key.public.name for key in twice.keys}) == 9


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path, ring = tmp_path / "keys" / "signing.json", first()
    write(path, ring, replacing=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == ring
    assert [one.name for one in path.parent.iterdir()] == ["signing.json"]


def test_keys_are_not_written_over_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "signing.json"
    write(path, first(), replacing=False)
    before = path.read_bytes()
    with pytest.raises(KeysExist):
        write(path, first(), replacing=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666, 0o602])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "signing.json"
    write(path, first(), replacing=False)
    path.chmod(mode)
    with pytest.raises(BadKeyFile, match="only its owner"):
        KeyFile(path).current()
    path.chmod(0o600)
    assert KeyFile(path).current() is not None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "x"}', '{"format": "expunge-signing-keys/1"}'])
def test_another_file_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "signing.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(BadKeyFile, match="Expected"):
        load(path)


def test_a_private_half_of_another_key_is_refused(tmp_path: Path) -> None:
    path, ring = tmp_path / "signing.json", first()
    write(path, ring, replacing=False)
    own, other = (str(load_private(path, number)) for number in (0, 1))
    path.write_text(path.read_text().replace(own, other))
    with pytest.raises(BadKeyFile) as refusal:
        load(path)
    assert other not in str(refusal.value)


def load_private(path: Path, number: int) -> str:
    import json

    return str(json.loads(path.read_text())["keys"][number]["private"])


def test_a_rotation_is_seen_without_a_restart(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "signing.json")
    assert keys.current() is None
    write(keys.path, first(), replacing=False)
    known = keys.current()
    assert known is not None
    assert keys.current() is known
    write(keys.path, known.rotated(now=NOW, until=NOW), replacing=True)
    assert keys.current() != known


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "x" * 201, "a\n"])
def test_a_name_that_no_key_can_have_is_refused(origin: str) -> None:
    with pytest.raises(BadKeyFile, match="without spaces"):
        Keyring.first(origin, now=NOW)


def test_lost_keys_are_remembered_and_their_name_is_not_used_again() -> None:
    lost = tuple(key for key in first().keys)
    with pytest.raises(BadKeyFile, match="new origin"):
        Keyring.first("unlearn.example.com/audit", now=NOW, retired=lost)
    assert len(Keyring.first("unlearn.example.com/audit-b", now=NOW, retired=lost).keys) == 6


def test_no_seed_is_in_the_text_of_a_key() -> None:
    key = first().keys[0]
    assert key.seed is not None
    assert repr(key.seed) not in repr(first())
    assert key.seed.hex() not in repr(key)
