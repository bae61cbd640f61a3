"""The command `expunge`. Every command imports what it needs when it runs: help must come at once."""

from pathlib import Path
from typing import Annotated

import typer

from cli import keys
from cli.failures import Failure
from cli.sentences import SentenceGroup

app = typer.Typer(
    name="expunge",
    cls=SentenceGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    epilog="Settings are environment variables with the prefix EXPUNGE_; docs/operations.md lists them.",
)
app.add_typer(keys.app, name="keys")

DataDir = Annotated[
    Path | None,
    typer.Option(help="Keep everything in this folder: SQLite, artifacts, no Redis. Default: as the settings say."),
]
Threads = Annotated[
    int | None, typer.Option(min=0, help="Threads of the mathematics; 0: one per core. Default: EXPUNGE_TORCH_THREADS.")
]
Lifeline = Annotated[bool, typer.Option("--until-stdin-closes", hidden=True)]


@app.callback()
def expunge(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Delete classes from trained image classifiers, verify that they are gone, and keep a ledger of it.

    First steps: `expunge demo` shows the whole way; `expunge serve` starts the service on this machine.
    """


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: EXPUNGE_HOST, 127.0.0.1.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. Default: EXPUNGE_PORT, 8080.")
    ] = None,
    data_dir: DataDir = None,
    worker: Annotated[bool, typer.Option(help="Without Redis: also run a worker beside the API.")] = True,
    threads: Threads = None,
    until_stdin_closes: Lifeline = False,
) -> None:
    """Serve the API; without Redis, a worker runs beside it.

    On a loopback address no API key is needed. On any other one at least one key must exist, and callers need one.
    A SQLite file is brought to the newest schema at start; for PostgreSQL run `expunge migrate` first.

    Example: expunge serve --port 8080

    Example: EXPUNGE_DATABASE_URL=postgresql://user@db/expunge expunge serve --host 0.0.0.0 --no-worker
    """
    from cli.children import stop_when_stdin_closes
    from cli.configuration import chosen_settings
    from cli.serving import serve as run

    if until_stdin_closes:
        stop_when_stdin_closes()
    settings = chosen_settings(data_dir, threads=threads)
    chosen = {"host": host, "port": port}
    settings = settings.model_copy(update={name: value for name, value in chosen.items() if value is not None})
    if not worker or settings.redis_url is not None:
        run(settings)
        return
    options = {"--data-dir": data_dir, "--threads": threads}
    run(
        settings,
        worker_options=[word for name, value in options.items() if value is not None for word in (name, str(value))],
    )


@app.command()
def worker(data_dir: DataDir = None, threads: Threads = None, until_stdin_closes: Lifeline = False) -> None:
    """Run jobs from the database, one after another, until stopped. Needs no Redis.

    A job that is running when the worker is stopped goes back to the queue. Run one worker per GPU.

    Example: CUDA_VISIBLE_DEVICES=0 expunge worker
    """
    from cli.children import stop_when_stdin_closes
    from cli.configuration import chosen_settings
    from worker.embedded import run

    if until_stdin_closes:
        stop_when_stdin_closes()
    run(chosen_settings(data_dir, threads=threads))


@app.command()
def dispatch() -> None:
    """Ring for waiting jobs and take over those whose worker is gone. Needed where workers run under Celery.

    Example: EXPUNGE_REDIS_URL=redis://localhost:6379/3 expunge dispatch
    """  # noqa: DOC501 it is the help text
    from cli.configuration import chosen_settings
    from core.dispatch import run

    settings = chosen_settings()
    if settings.redis_url is None:
        raise Failure(
            "Expected EXPUNGE_REDIS_URL to be set, got nothing; without Redis `expunge worker` needs no bell."
        )
    run(settings)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the newest schema. Safe to run from several machines at once.

    Example: EXPUNGE_DATABASE_URL=postgresql://user@db/expunge expunge migrate
    """
    from cli.configuration import chosen_settings
    from core.db.migrate import upgrade

    upgrade(chosen_settings(data_dir).database_url)
    typer.echo("The database has the newest schema.")


@app.command()
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="An evidence bundle, a ledger export, a checkpoint, a proof or a receipt; - is standard input."
        ),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="A public key you pinned, as name+id+key; repeat for several.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A signed checkpoint kept from earlier; repeat for several.")
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(help="The id a bundle must be about; or the file with the request as it was sent."),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A file that should be the published weights.")] = None,
    database: Annotated[
        bool, typer.Option("--database", help="Instead of a file: read every entry of the service's own database.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Check evidence offline: an evidence bundle, a ledger export, a signed checkpoint, a proof or a receipt.

    Exit code 0: it holds. 1: it does not, and the sentences say where. 2: it cannot be read, needs a key, or cannot
    answer what was asked. `expunge verifier` prints the same check as one file that needs nothing but Python.

    What an export alone cannot show: entries cut off its end. A checkpoint kept from earlier shows them.
    With --database every entry is read where it is stored: for operators, and for whoever doubts the database.

    Example: expunge verify evidence.zip --key "$PINNED" --request 8f14e45f-ceea-467f-a0e6-b3a1c2d4e5f6
    """  # noqa: DOC501 it is the help text
    from cli.verifying import check_database, check_file
    from core.evidence.command import exit_code, tell

    if database == (file is not None):
        raise Failure("Expected a file to check, or --database and no file.", exit_code=2)
    if file is None:
        findings = check_database(data_dir, keys=key or (), checkpoints=checkpoint or ())
    else:
        findings = check_file(file, keys=key or (), checkpoints=checkpoint or (), request=request, weights=weights)
    typer.echo(tell(findings))
    raise typer.Exit(exit_code(findings))


@app.command()
def verifier() -> None:
    """Print verify_evidence.py: the check of `expunge verify` as one file for whoever has nothing but Python 3.11.

    Example: expunge verifier > verify_evidence.py
    """
    from core.evidence.script import verifier_script

    typer.echo(verifier_script(), nl=False)


@app.command()
def selftest(
    gate: Annotated[bool, typer.Option("--gate", help="Judge models whose right verdict is known in advance.")] = False,
    digit: Annotated[int, typer.Option("--class", min=0, max=9, help="The digit to delete.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Decides the split, the training and the controls.")] = 0,
) -> None:
    """Test what this installation relies on. So far that is the gate: does it tell a deletion from a mask?

    Trains classifiers of handwritten digits, makes models that must fail (untouched, masked, relabelled, destroyed) and
    models that must pass (trained without the digit), and judges each by the shipped policies. Takes about a minute.

    Exit code 0: the gate said of each what it had to. 1: it did not, and the sentence names which.

    Example: expunge selftest --gate
    """  # noqa: DOC501 it is the help text
    from cli.selftest.command import Options, run

    if not gate:
        raise Failure("Expected --gate, got nothing to test.", exit_code=2)
    run(Options(digit=digit, seed=seed))


@app.command()
def demo(
    digit: Annotated[int, typer.Option("--class", min=0, max=9, help="The digit to delete.")] = 3,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the service; 0 takes a free one.")] = 0,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the service's data in this folder. Default: a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running, and say how to stop it.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides the split, the training and the unlearning.")] = 0,
    figures: Annotated[Path | None, typer.Option(help="Also write wall times and results to this JSON file.")] = None,
) -> None:
    """Train a classifier of handwritten digits, delete one digit from it over HTTP, and check every claim.

    Starts the service on a free loopback port with a SQLite file; needs nothing else and takes under 90 seconds.

    Example: expunge demo --class 7 --keep
    """
    from cli.demo.command import Options, run

    run(Options(digit=digit, port=port, data_dir=data_dir, keep=keep, seed=seed, figures=figures))


if __name__ == "__main__":
    app()
