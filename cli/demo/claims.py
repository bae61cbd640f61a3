"""What the service claims, checked without trusting it: the accuracies by plain torch, the ledger by its hashes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.failures import Failure
from cli.verifying import check_file, holds

RECHECK = Path(__file__).with_name("recheck.py")
RECHECK_SECONDS = 180


def recheck(weights: Path, data: Path, digit: int) -> dict[str, tuple[int, int]]:
    """Right answers and images, by name of the accuracy, as a separate process counts them.

    Raises:
        Failure: the process fails.
    """
    # -I: it sees neither our folder nor our environment.
    command = [sys.executable, "-I", str(RECHECK), str(weights), str(data), str(digit)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=RECHECK_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().rpartition("\n")[2]
        msg = f"Expected plain torch to load the new version, got: {last}"
        raise Failure(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"Expected plain torch to check the new version within {RECHECK_SECONDS} s, got no end of it."
        raise Failure(msg) from error
    return {name: (right, total) for name, (right, total) in json.loads(done.stdout).items()}


def compare(counted: dict[str, tuple[int, int]], claimed: dict[str, Any]) -> None:
    """Confirm that the service's accuracies are those that were counted, image by image.

    Raises:
        Failure: one is not.
    """
    for name, (right, total) in counted.items():
        measure = claimed[name]
        if (
            measure["n"] != total
            or round(measure["value"] * total) != right
            or abs(measure["value"] - right / total) > 1e-9
        ):
            msg = (
                f"Expected {name} of {right} in {total} as plain torch counts it, "
                f"got {measure['value']} of {measure['n']} from the service."
            )
            raise Failure(msg)


def check_ledger(export: Path) -> str:
    """What `expunge verify` says of the export.

    Raises:
        Failure: it does not hold.
    """
    findings = check_file(export)
    if not holds(findings):
        raise Failure(f"Expected a ledger that holds, got: {findings[0].sentence}")
    return " ".join(finding.sentence for finding in findings)
