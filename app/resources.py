"""What an API process holds for its whole life: settings, the database, the store. Made on first use."""

from functools import cached_property
from typing import Any

from fastapi import Request

from core.db.session import Database
from core.ledger.rechecking import Rechecker
from core.ledger.sealing import Sealer
from core.settings import Settings
from core.signing.keyring import KeyFile
from models_store.storage import LocalStorage


class Resources:
    """One per application, at `app.state.resources`; making one opens nothing."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.last_readiness: tuple[float, Any] | None = None
        """When `/readyz` last looked, on the monotonic clock, and what it found."""

    @cached_property
    def database(self) -> Database:
        """The database that the settings name."""
        return Database(self.settings.database_url)

    @cached_property
    def keys(self) -> KeyFile:
        """The file of signing keys, which need not exist."""
        return KeyFile(self.settings.signing_keys_file)

    @cached_property
    def sealer(self) -> Sealer:
        """Makes checkpoints."""
        return Sealer(self.database, self.keys, interval=self.settings.checkpoint_interval)

    @cached_property
    def rechecker(self) -> Rechecker:
        """Reads old ledger entries again."""
        settings = self.settings
        return Rechecker(self.database, entries=settings.rechecked_entries, interval=settings.checkpoint_interval)

    @cached_property
    def storage(self) -> LocalStorage:
        """The artifact store."""
        return LocalStorage(self.settings.artifacts_dir)

    def close(self) -> None:
        """Close idle connections."""
        if "database" in self.__dict__:
            self.database.dispose()


def resources(request: Request) -> Resources:
    """The resources of the application that serves this request."""
    held: Resources = request.app.state.resources
    return held
