"""Settings come from the environment and refuse what cannot work."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.settings import Settings


def test_the_database_defaults_to_a_file_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path / 'expunge.db'}"
    assert settings.uses_sqlite


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXPUNGE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EXPUNGE_LEASE_TTL", "20")
    monkeypatch.setenv("EXPUNGE_HEARTBEAT_INTERVAL", "5")
    settings = Settings()
    assert settings.lease_ttl == timedelta(seconds=20)
    assert str(tmp_path) in settings.database_url


def test_a_lease_shorter_than_two_heartbeats_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least twice heartbeat_interval"):
        Settings(lease_ttl=timedelta(seconds=10), heartbeat_interval=timedelta(seconds=6))


def test_the_redis_password_is_not_shown() -> None:
    settings = Settings.model_validate({"redis_url": "redis://:hunter2@localhost/0"})
    assert "hunter2" not in repr(settings)
