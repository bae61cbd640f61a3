"""`expunge selftest --gate`: train, make every control, judge it, and say whether the gate tells them apart."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cli.failures import Failure
from core.policy.policies import SHIPPED

WIDTH = 150
"""Columns where nobody tells how wide the page is."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    digit: int
    seed: int


def run(options: Options, console: Console | None = None) -> None:
    """Run all controls and print what was found.

    Raises:
        Failure: the gate did not say of every control what it had to.
    """
    console, began = console or _console(), time.monotonic()
    title = f"[bold]The gate[/bold] before models whose right verdict is known: digit {options.digit} deleted"
    console.print(title, highlight=False, soft_wrap=True)
    with _watched(console) as watch:
        watch("loading torch")
        import torch

        from cli.selftest import tables
        from cli.selftest.digits import judged_digits

        torch.set_num_threads(1)  # on a network this small, threads wait for each other longer than they work
        rows = judged_digits(options.digit, options.seed, watch)
    _show(console, "Controls", tables.CONTROLS, tables.control_table(rows))
    for name in SHIPPED:
        _show(console, f"Room around the margins of {name}", tables.ROOM, tables.room_table(rows, name))
    console.print(f"{len(rows)} models judged in {time.monotonic() - began:.0f} s.", highlight=False)
    unexpected = tables.unexpected(rows)
    if unexpected:
        raise Failure(f"Expected the gate to tell all controls apart, got another verdict for {', '.join(unexpected)}.")
    missed = tables.missed(rows)
    beyond = f", except for known limits: {', '.join(missed)}" if missed else ""
    console.print(f"[bold green]The gate tells all controls apart[/bold green]{beyond}.", soft_wrap=True)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


@contextmanager
def _watched(console: Console) -> Iterator[Callable[[str], None]]:
    """What is told of each control: a line that changes, or on no terminal a line for each."""
    if not console.is_terminal:
        yield lambda what: console.print(f"  {what}", highlight=False, soft_wrap=True)
        return
    with console.status("") as status:
        yield status.update


def _show(console: Console, title: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in head:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*line)
    console.print(table)
