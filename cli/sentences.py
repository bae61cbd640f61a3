"""Errors as a person should meet them: one sentence on standard error, a non-zero exit, and no traceback.

`--debug` shows the traceback; nothing else does.
"""

import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from cli.failures import Failure

if TYPE_CHECKING:
    from pydantic import ValidationError

INTERRUPTED = 130
"""What shells report for a process ended by Ctrl-C."""


class SentenceGroup(TyperGroup):
    """Runs a command; whatever it raises ends here."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named.

        Raises:
            Exit: it ended, or failed, and then the sentence was printed.
            Abort: the person declined a prompt.
            TyperException: the command was typed wrongly; typer says how.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:  # noqa: BLE001 the edge: whatever it is, a person reads it
            if ctx.params.get("debug"):
                traceback.print_exc(file=sys.stderr)
            typer.echo(f"Error: {sentence_of(error)}", err=True)
            raise typer.Exit(error.exit_code if isinstance(error, Failure) else 1) from None


def sentence_of(error: Exception) -> str:
    """The sentence for an error, whoever raised it."""
    # Loaded already when either can have been raised; `expunge --help` pays for neither.
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    from core.errors import ServiceError

    if isinstance(error, Failure | ServiceError):
        return str(error)
    if isinstance(error, ValidationError):
        return _about_settings(error)
    if isinstance(error, DBAPIError):
        return f"The database did not answer as expected: {_first_line(error.orig)}. See EXPUNGE_DATABASE_URL."
    if isinstance(error, ModuleNotFoundError):
        return f"This command needs the package {error.name}; install all that workers need with 'expunge[worker]'."
    if isinstance(error, OSError):
        return f"The system refused: {_first_line(error)}."
    return (
        f"Something unexpected broke ({type(error).__name__}: {_first_line(error)}); `expunge --debug ...` shows where."
    )


def _about_settings(error: "ValidationError") -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = "_".join(str(part) for part in first["loc"])
    where = f"EXPUNGE_{name.upper()}" if name else "The settings"
    return f"{where}: {first['msg']}."


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
