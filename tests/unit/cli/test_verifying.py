"""`expunge verify` and `expunge verifier` on a bundle, as a regulator types them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from core.evidence.script import verifier_script
from tests.unit.core.evidence.test_bundle import CONTENT, FIRST, REQUEST, SECOND


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "evidence.zip"
    path.write_bytes(CONTENT)
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_bundle_is_verified_against_either_pinned_key(bundle: Path) -> None:
    for key in (FIRST, SECOND):
        done = run("verify", str(bundle), "--key", key.vkey, "--request", REQUEST)
        assert (done.exit_code, "What holds:" in done.stdout) == (0, True), done.output


def test_what_does_not_hold_is_exit_1_and_what_cannot_be_checked_exit_2(bundle: Path, tmp_path: Path) -> None:
    assert run("verify", str(bundle)).exit_code == 2
    other = run("verify", str(bundle), "--key", FIRST.vkey, "--request", REQUEST[::-1].replace("-", "a"))
    assert other.exit_code == 2, "neither an id nor a file"
    weights = tmp_path / "weights"
    weights.write_bytes(b"other weights")
    changed = run("verify", str(bundle), "--key", FIRST.vkey, "--weights", str(weights))
    assert (changed.exit_code, "The weights at hand are others" in changed.stdout) == (1, True)
    bundle.write_bytes(CONTENT[:-1])
    cut = run("verify", str(bundle), "--key", FIRST.vkey)
    assert (cut.exit_code, "Traceback" in cut.output) == (1, False)


def test_the_verifier_is_printed_as_it_is() -> None:
    assert run("verifier").stdout == verifier_script()
