"""`expunge keys init|rotate|list`: the keys that sign checkpoints and receipts.

The file is put in place just before the commit: if it cannot be written the database knows nothing of the keys. If the
commit fails after it, `/readyz` says that they are not written down, and `init` does so when it is run again.
"""

from datetime import timedelta

import typer

from cli.configuration import chosen_settings
from cli.failures import Failure
from cli.serving import prepare_database
from core.clock import database_now
from core.db.session import Database
from core.signing.keyring import KeyFile, Keyring, KeysExist, write
from core.signing.published import disagreement, publish, published, retired_keys


def init(origin: str, *, actor: str) -> None:
    """Make the first keys, or new ones under a new name where the file of the old ones was lost.

    Raises:
        KeysExist: the file is there, and the database knows its keys.
    """
    database, keys = _opened()
    ring = keys.current()
    with database.writing() as session:
        if ring is None:
            now = database_now(session)
            ring = Keyring.first(origin, now=now, retired=retired_keys(session, now=now))
            publish(session, ring, actor=actor)
            write(keys.path, ring, replacing=False)
        elif ring.origin == origin and disagreement(session, ring) is not None:
            publish(session, ring, actor=actor)
        else:
            msg = f"Expected no signing keys at {keys.path} yet, got some; `expunge keys rotate` makes new ones."
            raise KeysExist(msg)
    _tell(ring, keys)


def rotate(overlap: timedelta, *, actor: str) -> None:
    """Make new keys; those that sign now do so for the overlap.

    Raises:
        Failure: there are no keys yet.
    """
    database, keys = _opened()
    ring = keys.current()
    if ring is None:
        msg = f"Expected signing keys at {keys.path}, got none; make them with `expunge keys init`."
        raise Failure(msg)
    with database.writing() as session:
        now = database_now(session)
        ring = ring.rotated(now=now, until=now + overlap)
        publish(session, ring, actor=actor)
        write(keys.path, ring, replacing=True)
    _tell(ring, keys)


def list_keys() -> None:
    """Print the table of public keys."""
    from rich.console import Console
    from rich.table import Table

    database, _ = _opened()
    with database.reading() as session:
        found = published(session)
    table = Table("use", "public key", "from", "until")
    for key in found:
        until = f"{key.valid_until:%Y-%m-%d %H:%M}" if key.valid_until else ""
        table.add_row(key.use, key.public.vkey, f"{key.valid_from:%Y-%m-%d %H:%M}", until)
    told = "There are no signing keys; `expunge keys init --help` says how to make them."
    Console(width=200).print(table if found else told)


def _opened() -> tuple[Database, KeyFile]:
    settings = chosen_settings()
    prepare_database(settings)
    return Database(settings.database_url, pooled=False), KeyFile(settings.signing_keys_file)


def _tell(ring: Keyring, keys: KeyFile) -> None:
    typer.echo(
        f"The signing keys of {ring.origin} are in {keys.path}; keep a copy of that file where only you are.", err=True
    )
    typer.echo("Public keys, for those who check:", err=True)
    for key in ring.keys:
        if key.seed is not None and key.valid_until is None:
            typer.echo(key.public.vkey)
