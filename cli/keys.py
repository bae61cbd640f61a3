"""`expunge keys`: who may call the API, and with which keys the service signs."""

from datetime import timedelta
from typing import Annotated

import typer

ACTOR = "local:cli"
"""How key changes made at the command line are signed in the ledger."""

app = typer.Typer(help="Keys of clients, and the keys with which this service signs.", no_args_is_help=True)
api = typer.Typer(help="Keys with which clients call the API.", no_args_is_help=True)
app.add_typer(api, name="api")


@app.command()
def init(
    origin: Annotated[str, typer.Option(help="Name of the ledger for ever, such as unlearn.example.com/audit.")],
) -> None:
    """Make the keys that sign checkpoints of the ledger and receipts. They are kept in a file, never in the database.

    The public keys are printed: give them to those who will check, over a channel that they trust.

    Example: expunge keys init --origin unlearn.example.com/audit
    """
    from cli.signing import init as run

    run(origin, actor=ACTOR)


@app.command()
def rotate(
    overlap_days: Annotated[int, typer.Option(min=0, help="Days in which the old keys sign along.")] = 30,
) -> None:
    """Make new signing keys. The old ones sign along for a while, so that those who pinned them can change over.

    Example: expunge keys rotate --overlap-days 14
    """
    from cli.signing import rotate as run

    run(timedelta(days=overlap_days), actor=ACTOR)


@app.command("list")
def list_signing() -> None:
    """List every public key this service ever signed with, and from when until when."""
    from cli.signing import list_keys

    list_keys()


@api.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for; shown in lists.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do; repeat for several. `admin` may do everything but override and break-glass."
        ),
    ],
    tenant: Annotated[str, typer.Option(help="Whose models and requests it sees.")] = "default",
    days: Annotated[int | None, typer.Option(min=1, help="Days until it expires; default: never.")] = None,
) -> None:
    """Make an API key. The key itself is printed once, alone on standard output, and is kept nowhere.

    Scopes: models:read models:write requests:submit requests:read requests:cancel artifacts:read audit:read
    policies:read policies:write subjects:read subjects:erase deadlines:write purge admin override break-glass

    Example: KEY=$(expunge keys api create --name governance --scope requests:submit --scope requests:read)
    """
    from app.keys import service
    from cli.configuration import chosen_settings
    from core.db.session import Database

    settings = chosen_settings()
    _require_schema()
    with Database(settings.database_url, pooled=False).writing() as session:
        key, secret = service.create(
            session,
            tenant=tenant,
            actor=ACTOR,
            name=name,
            scopes=scope,
            environment=settings.environment,
            lifetime=timedelta(days=days) if days else None,
        )
    typer.echo(f"Key {key.id} of tenant {tenant!r} may: {', '.join(key.scopes)}. Shown once:", err=True)
    typer.echo(secret)


@api.command("list")
def list_() -> None:
    """List every key: id, tenant, name, scopes, and whether it still holds."""
    from rich.console import Console
    from rich.table import Table

    from app.keys import service
    from cli.configuration import chosen_settings
    from core.clock import database_now
    from core.db.session import Database

    _require_schema()
    with Database(chosen_settings().database_url, pooled=False).reading() as session:
        now = database_now(session)
        keys = service.list_keys(session)
    table = Table("id", "tenant", "name", "scopes", "made", "state")
    for key in keys:
        state = "valid"
        if key.revoked_at is not None:
            state = "revoked"
        elif key.expires_at is not None and key.expires_at <= now:
            state = "expired"
        table.add_row(key.id, key.tenant, key.name, " ".join(key.scopes), f"{key.created_at:%Y-%m-%d}", state)
    Console().print(table if keys else "There are no API keys; `expunge keys api create --help` says how to make one.")


@api.command()
def revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")]) -> None:
    """Revoke a key for good.

    Example: expunge keys api revoke 3fWq81Zb
    """
    from app.keys import service
    from cli.configuration import chosen_settings
    from core.db.session import Database

    _require_schema()
    with Database(chosen_settings().database_url, pooled=False).writing() as session:
        key = service.revoke(session, key_id, actor=ACTOR)
    typer.echo(f"Key {key.id} ({key.name}) is revoked.")


def _require_schema() -> None:
    """Keys can be made before the first `expunge serve`: a SQLite file is migrated, a shared database must be."""
    from cli.configuration import chosen_settings
    from cli.serving import prepare_database

    prepare_database(chosen_settings())
