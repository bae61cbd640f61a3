"""An application with a shared folder, on a database and a store of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.app.api import Api


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The operator's folder, with a whole set, two splits, and things that are none of the caller's business beside."""
    root = tmp_path / "shared"
    (root / "digits").mkdir(parents=True)
    for name in ("whole.zip", "digits/train.zip", "digits/test.zip"):
        (root / name).write_bytes(b"PK\x03\x04" + name.encode())
    (tmp_path / "secret.zip").write_bytes(b"PK\x03\x04secret")
    (tmp_path / "shared-too").mkdir()
    (tmp_path / "shared-too" / "secret.zip").write_bytes(b"PK\x03\x04secret")
    return root


@pytest.fixture
def api(database_url: str, tmp_path: Path, root: Path) -> Iterator[Api]:
    """On SQLite and on PostgreSQL."""
    api = Api(database_url, tmp_path / "data", max_dataset_bytes=20_000, dataset_root=root)
    yield api
    api.app.state.resources.close()
