"""How the demonstration shows itself: headings, a bar, the request's steps as they go, the table, the curl lines."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from core.states import Step

Json = dict[str, Any]

ROWS = (
    ("retain_accuracy_test", "kept digits, held-out"),
    ("retain_accuracy_train", "kept digits, training"),
    ("retain_accuracy_drop", "lost there, held-out"),
    ("worst_class_drop", "by the worst of them"),
    ("forget_accuracy_test", "digit {digit}, held-out"),
    ("forget_accuracy_train", "digit {digit}, training"),
    ("restored_head_forget_accuracy", "same, old last layer"),
    ("restored_classifier_forget_accuracy", "same, old classifier"),
    ("realigned_head_forget_accuracy", "same, turned back"),
    ("false_forget_rate", "kept, taken for {digit}"),
    ("membership_auc", "membership AUC"),
    ("head_outlier", "last layer, outlier"),
)
"""Measures in the order shown; all but the last two are accuracies or shares of images, shown in percent."""
PLAIN = {"membership_auc": 2, "head_outlier": 1}
"""The others, with their digits."""
OUTCOMES = {"inconclusive": "unclear"}
BAR_WIDTH = 24


class Display:
    """Writes to one console.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._number = 0

    def heading(self, title: str) -> None:
        """Begin the next part."""
        self._number += 1
        self.console.print(f"\n[bold]{self._number}. {title}[/bold]", highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """One line below a heading."""
        self.console.print(f"   {sentence}", highlight=False, soft_wrap=True)

    @contextmanager
    def training(self, epochs: int) -> Iterator["TrainingBar"]:
        """A progress bar for the training."""
        columns = (
            TextColumn("   training"),
            BarColumn(BAR_WIDTH),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=self.console) as progress:
            yield TrainingBar(progress, epochs)

    @contextmanager
    def steps(self) -> Iterator["StepsView"]:
        """The live view of a request."""
        view = StepsView()
        with Live(view, console=self.console, refresh_per_second=8):
            yield view
        if not self.console.is_terminal:
            self.console.print()  # rich ends the last live frame without a newline when it is not on a terminal

    def result(self, request: Json, digit: int) -> None:
        """The table of before and after, and the verdict."""
        measures, verdict = request["result"]["measures"], request["result"]["verdict"]
        tests = {test["name"]: test for test in verdict["tests"]}
        table = Table(box=SIMPLE_HEAD, padding=0, pad_edge=False)
        for title in ("accuracy in %", "  before", "  after", "verdict"):
            table.add_column(title, no_wrap=True)
        for name, title in ROWS:
            cells = [_measured(name, measures[side].get(name)) for side in ("original", "unlearned")]
            table.add_row(title.format(digit=digit), *map(escape, cells), _judged(name, tests.get(name)))
        self.console.print(table)
        self.say(f"Verdict: {verdict['outcome']}. Brackets: 95 % intervals. Membership AUC: 0.5 is a coin toss.")
        self.seconds("Seconds per step", finished_steps(request))

    def seconds(self, title: str, seconds: dict[str, float]) -> None:
        """One line of times."""
        parts = ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
        self.say(f"{title}: {parts}")

    def curl(self, url: str, name: str, digit: int, request_id: str, version: int) -> None:
        """What was sent, for typing it oneself."""
        shown = (
            f"URL={url}",
            f'curl $URL/datasets --json \'{{"name": "{name}", "labels": ["0", ..., "9"]}}\'',
            f"curl $URL/datasets/{name}/content --upload-file digits.npz",
            "curl $URL/models --json @model.json",
            f"curl $URL/models/{name}/weights --upload-file original.safetensors",
            f'curl $URL/unlearn --json \'{{"model": "{name}", "dataset": "{name}", "classes": ["{digit}"]}}\'',
            f"curl $URL/unlearn/{request_id}",
            f"curl $URL/unlearn/{request_id}/events",
            f"curl $URL/models/{name}/versions/{version}/artifact --output unlearned.safetensors",
            f"curl '$URL/audit/report?request={request_id}&format=html' --output report.html".replace("'", '"'),
            "curl $URL/audit/export --output ledger.json && expunge verify ledger.json",
        )
        for line in shown:
            self.console.print(f"   {line}", markup=False, highlight=False, soft_wrap=True)


class TrainingBar:
    """Moves with every epoch."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=epochs, loss="")

    def after_epoch(self, epoch: int, loss: float) -> None:
        """Show where the training stands."""
        self._progress.update(self._task, completed=epoch, loss=f"loss {loss:.3f}")


class StepsView:
    """A request's steps: done with their seconds, running with a bar, still to come."""

    def __init__(self) -> None:
        self._request: Json = {"state": "queued", "step": None, "percent": 0, "steps": []}
        self._began = time.monotonic()

    def show(self, request: Json) -> None:
        """Take over the newest state."""
        self._request = request

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        yield Text(f"   {self._request['state']}, {time.monotonic() - self._began:.1f} s", style="bold")
        done = finished_steps(self._request)
        for step in Step:
            yield Text(f"   {step.value:<8} ").append_text(self._line(step.value, done))

    def _line(self, step: str, done: dict[str, float]) -> Text:
        if step in done:
            return Text("done", style="green").append(f"  {done[step]:.2f} s", style="default")
        if step == self._request["step"] and self._request["state"] == "running":
            filled = round(BAR_WIDTH * self._request["percent"] / 100)
            bar = "━" * filled + " " * (BAR_WIDTH - filled)
            return Text(bar, style="cyan").append(f" {self._request['percent']} % of the whole")
        return Text("waiting" if self._request["state"] in {"queued", "running"} else "not run", style="dim")


def finished_steps(request: Json) -> dict[str, float]:
    """Seconds by step, of those that are done."""
    steps = {step["name"]: step["seconds"] for step in request["steps"]}
    return {**steps, **((request.get("result") or {}).get("steps") or {})}


def _measured(name: str, measure: Json | None) -> str:
    if measure is None:
        return ""
    if measure["value"] is None:
        return "not measured"
    value, low, high = (_spelled(name, measure[part]) for part in ("value", "low", "high"))
    return f"{value:>5} [{low},{high}] "


def _judged(name: str, test: Json | None) -> str:
    if test is None or not test["deciding"]:
        return ""
    margin = test["margin"] or {}
    unit = 1 if name in PLAIN else 100
    low, high = (f"{unit * margin[side]:g}" if side in margin else "" for side in ("at_least", "at_most"))
    bounds = f"{low}-{high}" if low and high else f"≤ {high}" if high else f"≥ {low}"
    return f"{OUTCOMES.get(test['outcome'], test['outcome'])}: {bounds}"


def _spelled(name: str, value: float) -> str:
    return f"{value:.{PLAIN[name]}f}" if name in PLAIN else f"{100 * value:.1f}"
