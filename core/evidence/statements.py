"""What is attested of a published version: three in-toto statements (v1) and a model signature (OpenSSF OMS v1.0).

Each says no more than the ledger entry of the publication and what hangs on it by a digest: the manifest, and by the
manifest the verdict. `models_store.attesting` signs them and compares with the ledger first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from core.signing.dsse import envelope
from core.signing.exchange import pem_of
from core.signing.notes import PrivateKey

STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO_TYPE = "application/vnd.in-toto+json"
CLASS_UNLEARNING = "https://expunge.example/attestations/class-unlearning/v1"
"""Our own predicate. A type is a name and nothing is fetched from there."""
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
SUMMARY = "https://in-toto.io/attestation/svr/v0.2"
MODEL_SIGNATURE = "https://model_signing/signature/v1.0"
SIGSTORE_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
VERIFIER = "https://expunge.example/gate/v1"

RESULTS = {"pass": "PASSED", "inconclusive": "WARNED", "fail": "FAILED"}
PAPERS = {
    "paper": "Kodge, Saha, Roy: Deep Unlearning: Fast and Efficient Gradient-free Approach to Class Forgetting, "
    "TMLR 2024",
}
PASSED, OVERRIDDEN, REMOVED = "EXPUNGE_GATE_PASSED", "EXPUNGE_OVERRIDDEN", "EXPUNGE_CLASSES_UNLEARNED"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What is known of a published version."""

    request: str
    origin: str
    """The ledger's name."""
    index: int
    """Number of the ledger entry of the publication."""
    leaf_hash: str
    """Its hash, hex."""
    accepted_at: str
    published_at: str
    received_on: str
    legal_ground: str | None
    artifact: str
    """File name of the weights."""
    parent: str
    """File name of those they were made from."""
    manifest: Mapping[str, Any]
    manifest_sha256: str
    verdict: Mapping[str, Any]
    policy_sha256: str
    is_overridden: bool


def class_unlearning(one: Publication) -> Json:
    """What was done: to which weights, on what ground, by which method, with which data, and where that is written."""
    manifest = one.manifest
    method = manifest["method"]
    predicate = {
        "request": {"id": one.request, "ground": one.legal_ground, "receivedOn": one.received_on},
        "base": {"name": one.parent, "digest": {"sha256": manifest["parent_sha256"]}},
        "classes": manifest["classes"],
        "method": {"settings": method, "paper": PAPERS.get(str(method.get("name"))), "seed": manifest["seed"]},
        "code": manifest["code"],
        "datasets": _datasets(manifest),
        "samples": manifest["samples"],
        "environment": manifest["environment"],
        "times": {"accepted": one.accepted_at, "published": one.published_at},
        "manifest": {"digest": {"sha256": one.manifest_sha256}},
        "log": {"origin": one.origin, "index": one.index, "leafHash": one.leaf_hash},
    }
    return _statement(one, CLASS_UNLEARNING, predicate)


def result_of_tests(one: Publication) -> Json:
    """Which deciding tests passed, could not be told, or failed. An override does not turn a failure into a pass."""
    named: dict[str, list[str]] = {outcome: [] for outcome in RESULTS}
    for test in one.verdict["tests"]:
        if test["deciding"]:
            named[test["outcome"]].append(bound_name(test["name"], test["margin"]))
    predicate = {
        "result": RESULTS[one.verdict["outcome"]],
        "configuration": [_policy(one), *_datasets(one.manifest)],
        "passedTests": named["pass"],
        "warnedTests": named["inconclusive"],
        "failedTests": named["fail"],
    }
    return _statement(one, TEST_RESULT, predicate)


def summary(one: Publication, *, at: str) -> Json:
    """What the gate vouches for, as a list of properties; `at` is when it was said."""
    predicate = {
        "verifier": {"id": VERIFIER, "policies": [_policy(one)]},
        "timeCreated": at,
        "properties": properties_of(is_passed=one.verdict["outcome"] == "pass", is_overridden=one.is_overridden),
    }
    return _statement(one, SUMMARY, predicate)


def properties_of(*, is_passed: bool, is_overridden: bool) -> list[str]:
    """What is vouched for. An override vouches for nothing but itself."""
    return [REMOVED, PASSED] * is_passed + [OVERRIDDEN] * is_overridden


def model_statement(artifact: str, weights_sha256: str) -> Json:
    """The weights as a model of one file: `model_signing verify` fails if it changed, or if another lies beside it."""
    predicate = {
        "resources": [{"name": artifact, "digest": weights_sha256, "algorithm": "sha256"}],
        "serialization": {
            "method": "files",
            "hash_type": "sha256",
            "allow_symlinks": False,
            "ignore_paths": [".git", ".gitignore", ".gitattributes", ".github"],
        },
    }
    digest = sha256(bytes.fromhex(weights_sha256)).hexdigest()
    name = artifact.removesuffix(".safetensors")
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": MODEL_SIGNATURE,
        "predicate": predicate,
    }


def model_bundle(payload: bytes, key: PrivateKey) -> Json:
    """The Sigstore bundle (v0.3) that is kept as `model.sig`, signed by a P-256 key."""
    signed = envelope(IN_TOTO_TYPE, payload, [key])
    material = {"publicKey": {"hint": sha256(pem_of(key.public).encode()).hexdigest()}, "tlogEntries": []}
    return {"mediaType": SIGSTORE_BUNDLE, "verificationMaterial": material, "dsseEnvelope": signed}


def bound_name(test: str, margin: Mapping[str, float]) -> str:
    """A test with its margin, as `forget_accuracy_test<=0.1` or `0.3<=membership_auc<=0.7`."""
    low, high = (f"{margin[side]:g}" if side in margin else "" for side in ("at_least", "at_most"))
    return f"{low}<=" * bool(low) + test + f"<={high}" * bool(high)


def _statement(one: Publication, kind: str, predicate: Json) -> Json:
    subject = [{"name": one.artifact, "digest": {"sha256": one.manifest["sha256"]}}]
    return {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _datasets(manifest: Mapping[str, Any]) -> Sequence[Json]:
    files = sorted(manifest["dataset_files"].items())
    return [{"name": f"images/{split}", "digest": {"sha256": digest}} for split, digest in files]


def _policy(one: Publication) -> Json:
    policy = one.verdict["policy"]
    return {"name": f"policy/{policy['name']}/{policy['version']}", "digest": {"sha256": one.policy_sha256}}
