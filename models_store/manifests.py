"""The manifest that stays with a published version and says how it came to be."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from typing import Any
from uuid import UUID

import rfc8785

from core.ledger.entries import commitment
from core.requests.tables import UnlearnRequest

FORMAT = "expunge-manifest/1"


def digest(value: Any) -> str:
    """SHA-256 of the RFC 8785 form of a JSON value; floats allowed, unlike in the ledger, since only we compare it."""
    return sha256(rfc8785.dumps(value)).hexdigest()


def manifest_of(
    job_id: UUID,
    *,
    parent_sha256: str,
    sha256: str,
    classes: Sequence[str],
    made: Mapping[str, Any],
    seed: int,
    dataset_files: Mapping[str, str],
    verdict: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest as a JSON object.

    Args:
        job_id: the job that made the weights.
        parent_sha256: of the weights erased from.
        sha256: of the weights themselves.
        classes: those asked for, as the ledger names them (`class_commitments`).
        made: how, with the members `method`, `environment` and `samples`.
        seed: of every random choice.
        dataset_files: digest of each of the data set's files, by split.
        verdict: the verdict's JSON; its digest goes in.
    """
    return {
        "format": FORMAT,
        "job": str(job_id),
        "parent_sha256": parent_sha256,
        "sha256": sha256,
        "classes": list(classes),
        "method": {name: value for name, value in made["method"].items() if name != "table"},
        "seed": seed,
        "environment": made["environment"],
        "samples": made["samples"],
        "dataset_files": dict(dataset_files),
        "verdict_sha256": digest(dict(verdict)),
        "code": {"expunge": version("expunge")},
    }


def class_commitments(request: UnlearnRequest) -> list[str]:
    """The classes asked for, as the ledger names them: never their labels."""
    if request.commitment_key is None:
        return []
    return [commitment(request.commitment_key, "class", str(label)) for label in request.class_labels]
