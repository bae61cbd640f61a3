"""What somebody learns who has the whole database and every file of the service, and guesses names."""

import hmac
import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

from tests.integration.app.api import Api

HEX_KEY = re.compile(r"\b[0-9a-f]{64}\b")


def rows(api: Api, *, without: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """Every value of every row, with its table."""
    with api.database.engine.connect() as connection:
        for table in sorted(set(inspect(connection).get_table_names()) - set(without)):
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):  # noqa: S608 names from the catalogue
                yield from ((table, value) for value in row)


def as_bytes(value: Any) -> bytes:
    """A value as a searcher would read it."""
    if isinstance(value, bytes | memoryview):
        return bytes(value)
    return json.dumps(value, ensure_ascii=False, default=str).encode()


def tables_with(api: Api, needle: bytes, *, without: Iterable[str] = ()) -> set[str]:
    """The tables in which it stands, in whatever column."""
    return {table for table, value in rows(api, without=without) if needle in as_bytes(value)}


def files_with(api: Api, needle: bytes) -> set[Path]:
    """The files below the data directory in which it stands; a SQLite database is one of them."""
    everything = api.resources.settings.data_dir.rglob("*")
    return {path for path in everything if path.is_file() and needle in path.read_bytes()}


def linked(api: Api, kind: str, guesses: Iterable[str]) -> set[str]:
    """The guesses that some key in the database ties to a commitment in the ledger."""
    values = [value for _, value in rows(api)]
    found = {bytes(value) for value in values if isinstance(value, bytes | memoryview) and len(value) == 32}
    # A key written as text, wherever it may have got to.
    found |= {bytes.fromhex(match) for value in values for match in HEX_KEY.findall(as_bytes(value).decode("latin1"))}
    leaves = b"\n".join(leaf_bytes(api))
    return {
        guess
        for guess in guesses
        for key in found
        if hmac.new(key, kind.encode() + b"\x00" + guess.encode(), sha256).hexdigest().encode() in leaves
    }


def confirmed(api: Api, bodies: dict[str, bytes]) -> set[str]:
    """The guesses whose body has a digest that stands somewhere: unkeyed hashes of what can be guessed."""
    everything = b"\n".join(as_bytes(value) for _, value in rows(api))
    digests = {
        guess: [sha256(prefix + body).hexdigest().encode() for prefix in (b"", b"POST /unlearn\n")]
        for guess, body in bodies.items()
    }
    return {guess for guess, both in digests.items() if any(digest in everything for digest in both)}


def leaf_bytes(api: Api) -> list[bytes]:
    """The ledger as it is stored."""
    with api.database.engine.connect() as connection:
        return [bytes(row[0]) for row in connection.execute(text("SELECT leaf FROM audit_log ORDER BY seq"))]
