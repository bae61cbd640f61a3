"""The demonstration from start to end. Read `run` and `_show`: they are the story."""

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from cli.demo import claims
from cli.demo.client import Artifact, Client, connected
from cli.demo.digits import LABELS, load_digits
from cli.demo.display import Display, finished_steps
from cli.demo.service import Service
from cli.failures import Failure

TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    digit: int
    port: int
    data_dir: Path | None
    keep: bool
    seed: int
    figures: Path | None


@dataclass
class Figures:
    """Wall times in seconds by part, and what was measured."""

    began: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the block's time under this name."""
        began = time.monotonic()
        yield
        self.seconds[part] = time.monotonic() - began


def run(options: Options, console: Console | None = None) -> None:
    """Run the demonstration; leaves no process and no folder behind unless asked to keep them.

    Raises:
        Failure: some claim does not hold, or something could not be done.
    """
    signal.signal(signal.SIGTERM, _leave)
    figures = Figures()
    with ExitStack() as stack:
        folder = _folder(options, stack)
        with Service(folder, port=options.port, keep=options.keep) as service:
            _show(options, folder, service, Display(console or Console()), figures)
            if options.keep:
                service.let_go()
        stack.pop_all() if options.keep else None
    if options.figures:
        options.figures.write_text(json.dumps({"seconds": figures.seconds, **figures.facts}, indent=2) + "\n")


def _show(options: Options, folder: Path, service: Service, display: Display, figures: Figures) -> None:
    digit, console = options.digit, display.console
    console.print(f"[bold]Expunge[/bold]: delete the digit {digit} from a classifier of handwritten digits")

    display.heading("Train a classifier on half of 1,797 real images, while the service starts")
    files = _Files(folder)
    with figures.timed("train"):
        accuracy = _train(options, files, display)
    display.say(f"{accuracy:.1%} of the held-out half are classified correctly")
    with figures.timed("start, beyond training"):
        url = service.wait_until_ready()
    display.say(f"the service answers at {url}, its files are in {folder}")

    with connected(url) as client:
        display.heading("Register data set and model over HTTP")
        name = client.free_name()
        with figures.timed("register"):
            _register(client, name, files, display)

        display.heading(f"POST /unlearn for class {LABELS[digit]}")
        with figures.timed("unlearn"):
            request = _unlearn(client, name, options, display)
        figures.facts |= {"steps": finished_steps(request), "measures": request["result"]["measures"]}
        display.result(request, digit)

        display.heading("Download the new version and check it with plain torch, in a process that knows no Expunge")
        with figures.timed("download and recheck"):
            _check_version(client, request, digit, files, display)

        display.heading("Export the audit report and check the ledger offline")
        with figures.timed("audit"):
            _check_audit(client, request, files, display)

    display.heading("The same with curl")
    display.curl(url, name, digit, request["id"], request["new_version"])
    console.print(f"\n[bold green]Digit {digit} is gone[/bold green], and every claim was checked.")
    figures.seconds["all"] = time.monotonic() - figures.began
    display.seconds("Wall time in seconds", figures.seconds)
    if options.keep:
        running = f"Still running at {url}, interactive documentation at {url}/docs. Stop it with: kill {service.pid}"
        console.print(running, soft_wrap=True, highlight=False)
        console.print(f"Delete its files with: rm -r {folder}", soft_wrap=True)


class _Files:
    """Everything the demonstration writes, beside the service's own files."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "digits.npz"
        self.original = folder / "original.safetensors"
        self.unlearned = folder / "unlearned.safetensors"
        self.report_json = folder / "report.json"
        self.report_html = folder / "report.html"
        self.ledger = folder / "ledger.json"


def _train(options: Options, files: _Files, display: Display) -> float:
    with display.console.status("   loading torch"):
        from cli.demo import training

    digits = load_digits(options.seed)
    with display.training(training.EPOCHS) as bar:
        trained = training.train(digits, options.seed, bar.after_epoch)
    files.data.write_bytes(digits.as_npz())
    files.original.write_bytes(trained.weights)
    return trained.test_accuracy


def _register(client: Client, name: str, files: _Files, display: Display) -> None:
    from cli.demo.training import ARCHITECTURE

    dataset = client.register_dataset(name, files.data.read_bytes())
    display.say(f"data set {name}: {dataset['num_images']:,} images, read and counted by the worker")
    version = client.register_model(name, ARCHITECTURE, files.original.read_bytes())
    display.say(f"model {name}, version {version['version']}: {version['size_bytes']:,} bytes, tried by the worker")


def _unlearn(client: Client, name: str, options: Options, display: Display) -> dict[str, Any]:
    answer = client.submit(name, LABELS[options.digit], options.seed)
    display.say(f"{answer.status_code} {answer.reason_phrase}, {answer.headers['Location']}")
    with display.steps() as view:
        request = client.follow(answer.headers["Location"], view.show)
    if request["state"] == "rejected":
        decided = ", ".join(request["result"]["verdict"]["decided_by"])
        display.result(request, options.digit)
        raise Failure(
            f"Expected the deletion to be published, got rejected by the verification ({decided}); try another --seed."
        )
    if request["state"] != "published":
        detail = (request.get("problem") or {}).get("detail", "no reason was given.")
        raise Failure(f"Expected the deletion to be published, got {request['state']}: {detail}")
    return request


def _check_version(client: Client, request: dict[str, Any], digit: int, files: _Files, display: Display) -> None:
    artifact: Artifact = client.download(request["links"]["artifact"])
    if artifact.sha256 != request["result"]["artifact_sha256"]:
        msg = f"Expected version {request['new_version']} with SHA-256 {request['result']['artifact_sha256']}."
        raise Failure(f"{msg[:-1]}, got {artifact.sha256}.")
    files.unlearned.write_bytes(artifact.content)
    display.say(f"version {request['new_version']}: {len(artifact.content):,} bytes, sha256 {artifact.sha256}")
    counted = claims.recheck(files.unlearned, files.data, digit)
    claims.compare(counted, request["result"]["measures"]["unlearned"])
    shown = ", ".join(f"{name} {right}/{total}" for name, (right, total) in counted.items())
    display.say(f"plain torch counts the same: {shown}")


def _check_audit(client: Client, request: dict[str, Any], files: _Files, display: Display) -> None:
    path = request["links"]["report"]
    report = client.report(path)
    files.report_json.write_bytes(report.content)
    files.report_html.write_bytes(client.report(path, html=True).content)
    files.ledger.write_bytes(client.export())
    entries = len(report.json()["ledger"])
    display.say(f"the report for people ({files.report_html.name}) names {entries} ledger entries about this request")
    display.say(claims.check_ledger(files.ledger))


def _folder(options: Options, stack: ExitStack) -> Path:
    if options.data_dir is not None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        return options.data_dir.resolve()
    folder = Path(tempfile.mkdtemp(prefix="expunge-demo-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(TERMINATED)
