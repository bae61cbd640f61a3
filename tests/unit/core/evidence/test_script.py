"""`verify_evidence.py`: made of the same code as `expunge verify`, and in need of nothing but Python."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from core.evidence.command import main
from core.evidence.script import ROOT, verifier_script
from tests.unit.core.evidence.test_bundle import CONTENT, FIRST, REQUEST

LONGEST_LINE = 120


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "verify_evidence.py"
    path.write_text(verifier_script())
    return path


def run(script: Path, *words: str, content: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-I", "-S", "-W", "error", str(script), *words]
    return subprocess.run(command, input=content, capture_output=True, check=False, timeout=60)


def test_it_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(verifier_script())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).split(".")[0] for name in imported} <= {*sys.stdlib_module_names}


def test_it_is_made_without_the_service_installed_too(script: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "core" / "evidence" / "script.py")]
    made = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert made.stdout.decode() == script.read_text()


def test_people_can_read_it() -> None:
    lines = verifier_script().splitlines()
    assert max(map(len, lines)) <= LONGEST_LINE
    assert sum(line.startswith("# ----") for line in lines) > 10


@pytest.mark.parametrize("words", [(), ("--request", REQUEST), ("--request", "0" * 8 + REQUEST[8:])])
def test_it_says_what_expunge_verify_says(
    script: Path, tmp_path: Path, words: tuple[str, ...], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    bundle = tmp_path / "e.zip"
    bundle.write_bytes(CONTENT)
    done = run(script, str(bundle), "--key", FIRST.vkey, *words)
    assert (
        main([str(bundle), "--key", FIRST.vkey, *words])
        == done.returncode
        == (1 if words and "0000" in words[1] else 0)
    )
    assert capsysbinary.readouterr().out == done.stdout
    assert done.stderr == b""
    assert run(script, "-", "--key", FIRST.vkey, *words, content=CONTENT).stdout == done.stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nowhere.zip", "--key", FIRST.vkey), 2),
        (("-",), 2),
        (("-", "--key", "x"), 2),
        (("-", "--key", FIRST.vkey, "--checkpoint", "nowhere"), 2),
        (("-", "--key", FIRST.vkey, "--frobnicate"), 2),
        (("-", "--key", FIRST.vkey, "--weights", "/dev/null"), 1),
    ],
)
def test_mistakes_are_sentences(script: Path, words: tuple[str, ...], code: int) -> None:
    done = run(script, *words, content=CONTENT)
    assert done.returncode == code, done
    assert b"Traceback" not in done.stdout + done.stderr


def test_what_is_no_evidence_cannot_be_read(script: Path) -> None:
    for content in (b"", b"hello", b"\x00" * 100, b"{}", b"[" * 100_000):
        done = run(script, "-", "--key", FIRST.vkey, content=content)
        assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert run(script, "-", "--key", FIRST.vkey, content=b"PK").returncode == 1
